"""A model with operations that do more than compute is not loaded unless it is trusted."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from efficientdet.config import get_config
from efficientdet.model import build_model
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.export.bundle import ExportedFiles, write_bundle
from efficientdet_pipeline.export.formats import formats_of
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.inference.allowed_operations import CALCULATING, RESTORING, SAVING
from efficientdet_pipeline.inference.predictor import load_predictor

IMAGES = np.zeros((1, 40, 50, 3), np.uint8)
SPEC = tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")
SECRET = "secret.txt"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportedFiles:
    small = {"image_size": 64, "num_classes": 2, "fpn_cell_repeats": 1, "fpn_num_filters": 8, "box_class_repeats": 1}
    config = get_config("efficientdet-lite0", **small)
    detector = TrainedDetector(model=build_model(config), config=config, label_map={1: "cat"})
    return write_bundle(detector, tmp_path_factory.mktemp("export"), formats_of(["saved_model", "frozen"]))


def read_file(folder: Path) -> tf.Tensor:
    return tf.strings.length(tf.io.read_file(str(folder / SECRET)))


def write_file(folder: Path) -> tf.Tensor:
    with tf.control_dependencies([tf.io.write_file(str(folder / "written.txt"), "x")]):
        return tf.constant(0)


def list_files(folder: Path) -> tf.Tensor:
    return tf.size(tf.io.matching_files(str(folder / "*")))


def save_tensors(folder: Path) -> tf.Tensor:
    name = str(folder / "written")
    write = tf.raw_ops.SaveV2(prefix=name, tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant(1.0)])
    with tf.control_dependencies([write]):
        return tf.constant(0)


def restore_tensors(folder: Path) -> tf.Tensor:
    (read,) = tf.raw_ops.RestoreV2(
        prefix=str(folder / "variables"), tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.int32]
    )
    return tf.size(read)


def run_python(folder: Path) -> tf.Tensor:
    return tf.reshape(tf.py_function(lambda: (folder / "written.txt").touch() or 0, [], tf.int32), [])


def print_text(folder: Path) -> tf.Tensor:
    tf.print("x", output_stream=f"file://{folder / 'written.txt'}")
    return tf.constant(0)


def read_records(folder: Path) -> tf.Tensor:
    data = tf.data.TextLineDataset(str(folder / SECRET))
    return data.reduce(tf.constant(0), lambda count, line: count + tf.strings.length(line))


def read_within_branch(folder: Path) -> tf.Tensor:
    inner = tf.function(lambda: read_file(folder))
    return tf.cond(tf.random.uniform([]) < 2.0, inner, lambda: tf.constant(0))


def read_within_map(folder: Path) -> tf.Tensor:
    return tf.reduce_sum(tf.map_fn(lambda number: number + read_file(folder), tf.range(2)))


def map_file(folder: Path) -> tf.Tensor:
    shape = {"dtype": tf.uint8, "shape": (1,)}
    return tf.cast(tf.raw_ops.ImmutableConst(memory_region_name=str(folder / SECRET), **shape), tf.int32)[0]


def load_table(folder: Path) -> tf.Tensor:
    table = tf.raw_ops.HashTableV2(key_dtype=tf.int64, value_dtype=tf.string)
    tf.raw_ops.InitializeTableFromTextFileV2(
        table_handle=table, filename=str(folder / SECRET), key_index=-1, value_index=-2
    )
    return tf.constant(0)


ATTACKS = {
    read_file: "ReadFile",
    write_file: "WriteFile",
    list_files: "MatchingFiles",
    save_tensors: "SaveV2",
    restore_tensors: "RestoreV2",
    run_python: "EagerPyFunc",
    print_text: "PrintV2",
    read_records: "TextLineDataset",
    read_within_branch: "ReadFile",
    read_within_map: "ReadFile",
    map_file: "ImmutableConst",
    load_table: "InitializeTableFromTextFileV2",
}


class Evil(tf.Module):
    """Detects one box, with a forbidden side effect."""

    def __init__(self, attack: Callable[[Path], tf.Tensor], folder: Path) -> None:
        super().__init__()
        self.weight = tf.Variable(0.5)

        @tf.function(input_signature=[SPEC])
        def serve(images: tf.Tensor) -> tuple[tf.Tensor, ...]:
            stolen = tf.cast(attack(folder), tf.float32)
            count = tf.shape(images)[0]
            boxes = tf.zeros([count, 1, 4]) + 0.0 * stolen
            return boxes, tf.zeros([count, 1]) + self.weight, tf.ones([count, 1]), tf.ones([count], tf.int32)

        self.serve = serve


def saved(module: tf.Module, folder: Path) -> Path:
    tf.saved_model.save(module, str(folder / "model"), signatures={"serving_default": module.serve})
    return folder / "model"


def frozen(module: tf.Module, folder: Path) -> Path:
    graph = convert_variables_to_constants_v2(module.serve.get_concrete_function()).graph
    (folder / "model.pb").write_bytes(graph.as_graph_def().SerializeToString())
    return folder / "model.pb"


@pytest.mark.parametrize("pack", [saved, frozen])
@pytest.mark.parametrize("attack", ATTACKS)
def test_model_safety_model_that_does_more_than_calculate_is_refused(
    tmp_path: Path, attack: Callable[[Path], tf.Tensor], pack: Callable[[tf.Module, Path], Path]
) -> None:
    (tmp_path / SECRET).write_text("secret")
    path = pack(Evil(attack, tmp_path), tmp_path)
    before = sorted(each.name for each in tmp_path.iterdir())
    with pytest.raises(DataError, match=rf"only computes\..*{ATTACKS[attack]}.*add --trust_model\.$"):
        load_predictor(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == before


def test_model_safety_trusted_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / SECRET).write_text("secret")
    for path in (saved(Evil(read_file, tmp_path), tmp_path), frozen(Evil(read_file, tmp_path), tmp_path)):
        found = load_predictor(path, is_trusted=True).detect(IMAGES)
        assert found.scores.tolist() == [[0.5]]


def test_model_safety_our_own_exports_need_no_trust(exported: ExportedFiles) -> None:
    for path in (exported.saved_model, exported.frozen_graph):
        assert load_predictor(path).detect(IMAGES).boxes.shape[-1] == 4


def test_model_safety_export_that_decodes_encoded_images_needs_no_trust(tmp_path: Path) -> None:
    module = Evil(lambda _: tf.constant(0), tmp_path)
    text = tf.TensorSpec((None,), tf.string)

    @tf.function(input_signature=[text])
    def from_text(encoded: tf.Tensor) -> tuple[tf.Tensor, ...]:
        decode = tf.function(lambda content: tf.io.decode_image(content, channels=3, expand_animations=False))
        return module.serve(tf.map_fn(decode, encoded, fn_output_signature=SPEC.dtype))

    signatures = {"serving_default": module.serve, "encoded": from_text}
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=signatures)
    assert load_predictor(tmp_path / "model").detect(IMAGES).scores.tolist() == [[0.5]]


def test_model_safety_signature_may_not_call_the_functions_that_save_variables(
    exported: ExportedFiles, tmp_path: Path
) -> None:
    folder = shutil.copytree(exported.saved_model, tmp_path / "model")
    model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    library = model.meta_graphs[0].graph_def.library
    (saving,) = [each.signature.name for each in library.function if "traced_save" in each.signature.name]
    serving = next(each for each in library.function if "signature_wrapper" in each.signature.name)
    node = serving.node_def.add(name="more", op="StatefulPartitionedCall")
    node.attr["f"].func.name = saving
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match="MergeV2Checkpoints, SaveV2"):
        load_predictor(folder)


def test_model_safety_functions_that_tensorflow_may_exchange_may_not_save(
    exported: ExportedFiles, tmp_path: Path
) -> None:
    folder = shutil.copytree(exported.saved_model, tmp_path / "model")
    model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    for function in model.meta_graphs[0].graph_def.library.function:
        if "traced_save" in function.signature.name:
            function.attr["api_implements"].s = b"serve"
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match="SaveV2"):
        load_predictor(folder)


@pytest.mark.parametrize("end", ["restore", "output", "initial"])
def test_model_safety_graph_of_tensorflow_1_may_not_save_while_it_loads_or_detects(tmp_path: Path, end: str) -> None:
    def build(*, is_evil: bool) -> Path:
        path = tmp_path / f"{is_evil}"
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            images = tf.compat.v1.placeholder(tf.uint8, (None, None, None, 3), name="images")
            weight = tf.compat.v1.get_variable("weight", initializer=0.5)
            write = tf.raw_ops.SaveV2(
                prefix=str(tmp_path / "x"), tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant(1.0)]
            )
            with tf.control_dependencies([write] if is_evil and end == "output" else []):
                scores = tf.zeros([tf.shape(images)[0], 1]) + weight
            outputs = {"output_0": tf.zeros([1, 1, 4]), "output_1": scores, "output_2": scores}
            outputs["output_3"] = tf.ones([1], tf.int32)
            session.run(weight.initializer)
            infos = [
                {name: tf.compat.v1.saved_model.build_tensor_info(tensor) for name, tensor in each.items()}
                for each in ({"images": images}, outputs)
            ]
            signature = tf.compat.v1.saved_model.build_signature_def(*infos)
            builder = tf.compat.v1.saved_model.Builder(str(path))
            builder.add_meta_graph_and_variables(
                session,
                ["serve"],
                {"serving_default": signature},
                main_op=write if is_evil and end == "initial" else tf.no_op(),
            )
            builder.save()
        model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        if is_evil and end == "restore":
            graph = model.meta_graphs[0]
            restoring = next(each for each in graph.graph_def.node if each.name == graph.saver_def.restore_op_name)
            restoring.input.append(f"^{write.name}")
            (path / "saved_model.pb").write_bytes(model.SerializeToString())
        return path

    assert load_predictor(build(is_evil=False)).detect(IMAGES).scores.tolist() == [[0.5]]
    with pytest.raises(DataError, match="run code, or are unknown: SaveV2"):
        load_predictor(build(is_evil=True))


@pytest.mark.parametrize("name", ["saved_model.cpb", "saved_model.pbtxt"])
def test_model_safety_second_description_is_refused(exported: ExportedFiles, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(exported.saved_model, tmp_path / "model")
    (folder / name).write_bytes(b"")
    with pytest.raises(DataError, match=rf"It also contains {name.replace('.', '[.]')}, which TensorFlow may load"):
        load_predictor(folder)


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x0f"])
def test_model_safety_damaged_description_is_no_detector(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(content)
    with pytest.raises(DataError, match="must be an exported detector"):
        load_predictor(tmp_path / "model")


def test_model_safety_list_holds_no_operation_on_files() -> None:
    words = ("File", "Save", "Restore", "Print", "PyFunc", "Dataset", "Reader", "Debug", "Abort", "Remote", "Immutable")
    make_names = {"ShardedFilename", "ShardedFilespec"}  # They open no files.
    assert not [name for name in CALCULATING - make_names if any(word in name for word in words)]
    assert not (CALCULATING & (RESTORING | SAVING))
    for operation in filter(None, map(op_def_registry.get, CALCULATING - make_names)):
        names = [argument.name for argument in (*operation.input_arg, *operation.attr)]
        assert not [name for name in names if "file" in name or "directory" in name], operation.name
