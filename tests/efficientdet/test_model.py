"""Tests of the detector: options, names, saving, and stochastic depth by (seed, step)."""

from pathlib import Path

import keras
import numpy as np
import pytest
from efficientdet.automl.variable_names import variable_names
from efficientdet.config import ACT_TYPES, get_config
from efficientdet.model import Detector, build_model
from efficientdet.necks.fpn_graphs import WEIGHT_METHODS
from keras import ops

SMALL = {"image_size": 64, "num_classes": 2, "fpn_cell_repeats": 1, "fpn_num_filters": 16, "box_class_repeats": 2}
# numpy 2.4 passes TensorFlow's variables an argument that they do not support yet.
ignore_numpy = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def small_model(name: str = "efficientdet-d0", **hparams: object) -> Detector:
    return build_model(get_config(name, **(SMALL | hparams)))


def images(model: Detector, num_images: int = 2) -> np.ndarray:
    shape = (num_images, *model.config.image_size, 3)
    return np.random.RandomState(0).uniform(-2, 2, shape).astype(np.float32)


def sizes_of(outputs: dict) -> dict:
    return {level: tuple(x.shape[1:3]) for level, x in outputs["box"].items()}


@pytest.mark.parametrize(
    "hparams",
    [
        *({"act_type": act_type} for act_type in ACT_TYPES),
        *({"fpn_weight_method": weight_method} for weight_method in WEIGHT_METHODS),
        {"fpn_name": "qufpn"},
        {"fpn_config": {"nodes": [{"feat_level": level, "inputs_offsets": [0, 4]} for level in range(3, 8)]}},
        {"separable_conv": False},
        {"conv_bn_act_pattern": True},
        {"conv_after_downsample": True},
        {"apply_bn_for_resampling": False},
        {"survival_prob": 0.7},
        {"min_level": 2, "max_level": 6},
        {"min_level": 1, "max_level": 3},
        {"min_level": 4, "max_level": 9},
        {"num_scales": 1, "aspect_ratios": [1.0, [1.4, 0.7]]},
        {"fpn_num_filters": 40},
        {"backbone_name": "efficientnet-lite1"},
        {"heads": ["object_detection", "segmentation"], "image_size": 128},
    ],
    ids=str,
)
def test_model_every_option_makes_a_network_whose_weights_are_all_named(hparams: dict) -> None:
    model = small_model(**hparams)
    names = variable_names(model)
    assert {id(weight) for weight in names.values()} == {id(weight) for weight in model.weights}
    assert len(names) == len(model.weights)
    outputs = model(images(model), training=True)
    assert list(outputs["class"]) == list(outputs["box"]) == list(model.config.levels)
    for kind, columns in (("class", 2), ("box", 4)):
        for x in outputs[kind].values():
            assert x.shape[-1] == columns * model.config.num_anchors
            assert np.isfinite(ops.convert_to_numpy(x)).all()


@pytest.mark.parametrize(
    ("image_size", "expected"),
    [
        ("64x128", {3: (16, 8), 4: (8, 4), 5: (4, 2), 6: (2, 1), 7: (1, 1)}),
        ("201x90", {3: (12, 26), 4: (6, 13), 5: (3, 7), 6: (2, 4), 7: (1, 2)}),
        (33, {3: (5, 5), 4: (3, 3), 5: (2, 2), 6: (1, 1), 7: (1, 1)}),
    ],
)
def test_model_any_image_size(image_size: object, expected: dict) -> None:
    model = small_model(image_size=image_size)
    assert sizes_of(model(images(model))) == expected


def test_model_one_model_takes_images_of_other_sizes() -> None:
    model = small_model()
    assert sizes_of(model(np.zeros((1, 96, 160, 3), np.float32)))[3] == (12, 20)


def test_model_masks_alone() -> None:
    model = small_model(heads=["segmentation"], image_size=128, seg_num_classes=5)
    outputs = model(images(model))
    assert outputs.keys() == {"segmentation"}
    assert outputs["segmentation"].shape == (2, 32, 32, 5)
    assert not any(name.startswith(("class_net", "box_net")) for name in variable_names(model))


def test_model_second_model_has_the_same_names() -> None:
    assert variable_names(small_model()).keys() == variable_names(small_model()).keys()


def test_model_names_beyond_the_recorded_ones() -> None:
    names = variable_names(small_model("efficientdet-d7x", backbone_name="efficientnet-b0"))
    scopes = {name.rsplit("/", 1)[0] for name in names}
    cell = "fpn_cells/cell_0"
    laterals = ["fnode2/resample_0_2_8", "fnode3/resample_0_1_9", "fnode4/resample_0_0_10", "fnode5/resample_0_1_11"]
    assert {f"{cell}/{lateral}/conv2d" for lateral in [*laterals, "fnode6/resample_0_2_12"]} <= scopes
    assert {f"{cell}/fnode{node}/op_after_combine{6 + node}/bn" for node in range(10)} <= scopes
    assert {f"class_net/class-1-bn-{level}" for level in range(3, 9)} <= scopes
    assert not any("WSM" in name for name in names)

    full = variable_names(small_model(separable_conv=False, fpn_weight_method="channel_attn"))
    assert full[f"{cell}/fnode0/op_after_combine5/conv/kernel"].shape == (3, 3, 16, 16)
    assert full["box_net/box-predict/kernel"].shape == (3, 3, 16, 36)
    assert full[f"{cell}/fnode4/WSM_2"].shape == (16,)


@ignore_numpy
def test_model_weights_survive_a_file(tmp_path: Path) -> None:
    first, second = small_model(survival_prob=0.8), small_model(survival_prob=0.8)
    first.save_weights(tmp_path / "detector.weights.h5")
    second.load_weights(tmp_path / "detector.weights.h5")
    for name, weight in variable_names(first).items():
        np.testing.assert_array_equal(weight.numpy(), variable_names(second)[name].numpy(), err_msg=name)


@ignore_numpy
def test_model_survives_a_file(tmp_path: Path) -> None:
    model = small_model("efficientdet-lite0", nms_configs={"method": "hard"})
    model.save(tmp_path / "detector.keras")
    loaded = keras.saving.load_model(tmp_path / "detector.keras")
    assert loaded.config == model.config
    x = images(model)
    expected, received = (ops.convert_to_numpy(one(x)["class"][3]) for one in (model, loaded))
    np.testing.assert_array_equal(received, expected)


def test_model_half_precision_inside_and_float32_outputs() -> None:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small_model(heads=["object_detection", "segmentation"], image_size=128)
    finally:
        keras.config.set_dtype_policy(policy)
    assert model.backbone.compute_dtype == "bfloat16"
    assert {weight.dtype for weight in model.weights} == {"float32"}
    plain = small_model(heads=["object_detection", "segmentation"], image_size=128)
    for half, full in zip(model.weights, plain.weights, strict=True):
        full.assign(half)
    half, full = model(images(model)), plain(images(model))
    for key in (3, 7):
        x = ops.convert_to_numpy(half["box"][key])
        assert x.dtype == np.float32
        expected = ops.convert_to_numpy(full["box"][key])
        np.testing.assert_allclose(x, expected, atol=0.1 * np.abs(expected).max())
    assert keras.backend.standardize_dtype(half["segmentation"].dtype) == "float32"


def test_model_what_is_dropped_depends_on_seed_and_step_alone() -> None:
    model = small_model("efficientdet-lite0", survival_prob=0.5)
    x = images(model, 4)

    def trained(seed: int, step: int) -> list[np.ndarray]:
        model.set_drop_path(seed, step)
        return [ops.convert_to_numpy(model(x, training=True)["box"][3]) for _ in range(3)]

    whole = trained(seed=5, step=10)
    resumed = trained(seed=5, step=12)
    np.testing.assert_array_equal(resumed[0], whole[2])
    assert (whole[0] != whole[1]).any()
    assert (trained(seed=6, step=10)[0] != whole[0]).any()
    # It is not a weight: automl's names and saved weights do not contain it.
    state = model.drop_path_seed.state
    assert not any(weight is state for weight in model.weights)
    assert any(variable is state for variable in model.variables)


def test_model_d0_drops_nothing() -> None:
    model = small_model()
    model.set_drop_path(1, 2)
    assert model.drop_path_seed is None


def test_model_graph_takes_any_batch() -> None:
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("a graph of TensorFlow")
    model = small_model(image_size="72x100")
    function = tf.function(lambda x: model(x, training=False), jit_compile=False)
    traced = function.get_concrete_function(tf.TensorSpec((None, 100, 72, 3), tf.float32)).structured_outputs
    assert traced["class"][3].shape.as_list() == [None, 13, 9, 18]
    x = images(model, 3)
    np.testing.assert_allclose(
        ops.convert_to_numpy(function(tf.constant(x))["box"][4]), ops.convert_to_numpy(model(x)["box"][4]), atol=1e-5
    )


def test_model_backbone_without_the_levels_is_refused() -> None:
    with pytest.raises(ValueError, match="must give levels up to 5"):
        small_model(backbone_config={"blocks": ["r1_k3_s22_e1_i32_o16"]})


def test_build_model_of_a_name_says_how_to_get_its_config() -> None:
    with pytest.raises(TypeError, match=r"try build_model\(get_config\('efficientdet-lite0'\)\)"):
        build_model("efficientdet-lite0")  # type: ignore[call-overload]
