"""Names of EfficientNet weights in other libraries, and recognition of the network of a file.

efficientnet-pytorch (and EfficientNet-Lite in its style), timm and
keras.applications implement the networks of google/automl: the same layers, SAME
padding as in TensorFlow, batch-norm epsilon 0.001. Only names and the order of
axes differ.
"""

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from efficientdet.backbones.stages import SCALES, BlockSpec, block_specs, round_filters
from efficientdet.checkpoint.reader import Shape
from efficientdet.errors import CheckpointError

HEAD_FILTERS = 1280
_STEM_FILTERS = 32
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
_TORCH_VARIABLES = {
    **{"kernel": "weight", "bias": "bias"},
    **{"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"},
}
# Permutation of the axes of a PyTorch kernel to TensorFlow's order.
_TORCH_AXES = {"conv": (2, 3, 1, 0), "depthwise": (2, 3, 0, 1), "dense": (1, 0)}


class Layer(NamedTuple):
    """A layer of a backbone or of its classifier."""

    scope: str
    """automl's name of the layer, without the backbone's name."""
    block: int | None
    part: str
    """Role of the layer in its block, or in the network if `block` is None."""
    kind: str
    """conv, depthwise, dense or norm."""
    shape: Shape
    """Of the kernel, in TensorFlow's order; for a norm its channels. 0 matches any size."""
    has_bias: bool = False


class Layout(NamedTuple):
    """Naming scheme of one library."""

    name: str
    markers: frozenset[str]
    """Keys that every file of the library has."""
    layer: Callable[[Layer, Sequence[BlockSpec]], str]
    """Returns the library's name of a layer."""
    is_torch: bool


@dataclass(frozen=True)
class Recognized:
    """Network and layout of a file."""

    layout: str
    backbone: str
    keys: Mapping[str, str]
    """automl's name of a variable → key in the file."""
    axes: Mapping[str, tuple[int, ...]]
    """automl's name → permutation of the file's axes, if their order differs."""

    def values(self, name: str, found: np.ndarray) -> np.ndarray:
        """Returns a variable in TensorFlow's order, float32."""
        ordered = np.transpose(found, self.axes[name]) if name in self.axes else found
        return np.ascontiguousarray(ordered, "float32")


def _layers(backbone: str) -> Iterator[Layer]:
    width, is_lite = SCALES[backbone][0], "lite" in backbone
    stem = _STEM_FILTERS if is_lite else round_filters(_STEM_FILTERS, width)
    yield Layer("stem/conv2d", None, "stem_conv", "conv", (3, 3, 3, stem))
    yield Layer("stem/tpu_batch_normalization", None, "stem_norm", "norm", (stem,))
    specs = block_specs(backbone)
    for number, spec in enumerate(specs):
        # The width of a Lite network's stem is not scaled, whatever its first stage states.
        yield from _block_layers(number, replace(spec, filters_in=stem) if number == 0 else spec)
    last = specs[-1].filters_out
    head = HEAD_FILTERS if is_lite else round_filters(HEAD_FILTERS, width)
    yield Layer("head/conv2d", None, "head_conv", "conv", (1, 1, last, head))
    yield Layer("head/tpu_batch_normalization", None, "head_norm", "norm", (head,))
    yield Layer("head/dense", None, "dense", "dense", (head, 0), has_bias=True)


def _block_layers(number: int, spec: BlockSpec) -> Iterator[Layer]:
    inside, outside = spec.filters_inside, spec.filters_out
    convs = ["project"] if spec.expand == 1 else ["expand", "project"]
    norms = ["spatial", "project"] if spec.expand == 1 else ["expand", "spatial", "project"]

    def layer(name: str, index: int, part: str, kind: str, shape: Shape, has_bias: bool = False) -> Layer:
        scope = f"blocks_{number}/{name}" + (f"_{index}" if index else "")
        return Layer(scope, number, part, kind, shape, has_bias)

    for index, part in enumerate(convs):
        shape = (1, 1, spec.filters_in, inside) if part == "expand" else (1, 1, inside, outside)
        yield layer("conv2d", index, f"{part}_conv", "conv", shape)
    for index, part in enumerate(norms):
        channels = outside if part == "project" else inside
        yield layer("tpu_batch_normalization", index, f"{part}_norm", "norm", (channels,))
    yield layer("depthwise_conv2d", 0, "spatial_conv", "depthwise", (spec.kernel, spec.kernel, inside, 1))
    if spec.se_ratio:
        reduced = max(1, int(spec.filters_in * spec.se_ratio))
        yield layer("se/conv2d", 0, "se_reduce", "conv", (1, 1, inside, reduced), has_bias=True)
        yield layer("se/conv2d", 1, "se_expand", "conv", (1, 1, reduced, inside), has_bias=True)


_EFFICIENTNET_PYTORCH = {
    **{"stem_conv": "_conv_stem", "stem_norm": "_bn0", "head_conv": "_conv_head", "head_norm": "_bn1", "dense": "_fc"},
    **{"expand_conv": "_expand_conv", "spatial_conv": "_depthwise_conv", "project_conv": "_project_conv"},
    **{"expand_norm": "_bn0", "spatial_norm": "_bn1", "project_norm": "_bn2"},
    **{"se_reduce": "_se_reduce", "se_expand": "_se_expand"},
}
_TIMM = {
    **{"stem_conv": "conv_stem", "stem_norm": "bn1", "head_conv": "conv_head", "head_norm": "bn2"},
    **{"dense": "classifier", "se_reduce": "se.conv_reduce", "se_expand": "se.conv_expand"},
    **{"expand_conv": "conv_pw", "spatial_conv": "conv_dw", "project_conv": "conv_pwl"},
    **{"expand_norm": "bn1", "spatial_norm": "bn2", "project_norm": "bn3"},
}
# Without expansion, the layers of a block are numbered from the depthwise one.
_TIMM_WITHOUT_EXPANSION = {"project_conv": "conv_pw", "spatial_norm": "bn1", "project_norm": "bn2"}
_KERAS = {
    **{"stem_conv": "stem_conv", "stem_norm": "stem_bn", "head_conv": "top_conv", "head_norm": "top_bn"},
    **{"dense": "predictions", "se_reduce": "se_reduce", "se_expand": "se_expand"},
    **{"expand_conv": "expand_conv", "spatial_conv": "dwconv", "project_conv": "project_conv"},
    **{"expand_norm": "expand_bn", "spatial_norm": "bn", "project_norm": "project_bn"},
}


def _efficientnet_pytorch(layer: Layer, _: Sequence[BlockSpec]) -> str:
    word = _EFFICIENTNET_PYTORCH[layer.part]
    return word if layer.block is None else f"_blocks.{layer.block}.{word}"


def _timm(layer: Layer, specs: Sequence[BlockSpec]) -> str:
    if layer.block is None:
        return _TIMM[layer.part]
    stage, index = _stage_and_index(specs, layer.block)
    words = _TIMM if specs[layer.block].expand > 1 else _TIMM | _TIMM_WITHOUT_EXPANSION
    return f"blocks.{stage}.{index}.{words[layer.part]}"


def _keras(layer: Layer, specs: Sequence[BlockSpec]) -> str:
    if layer.block is None:
        return _KERAS[layer.part]
    stage, index = _stage_and_index(specs, layer.block)
    return f"block{stage + 1}{chr(ord('a') + index)}_{_KERAS[layer.part]}"


def _stage_and_index(specs: Sequence[BlockSpec], block: int) -> tuple[int, int]:
    # Only the first block of each stage changes the number of channels.
    firsts = [number for number, spec in enumerate(specs[: block + 1]) if spec.filters_in != spec.filters_out]
    return len(firsts) - 1, block - firsts[-1]


LAYOUTS = (
    Layout(
        "efficientnet-pytorch",
        frozenset({"_conv_stem.weight", "_bn0.running_var"}),
        _efficientnet_pytorch,
        is_torch=True,
    ),
    Layout("timm", frozenset({"conv_stem.weight", "blocks.0.0.conv_dw.weight"}), _timm, is_torch=True),
    Layout("keras.applications", frozenset({"stem_conv/kernel", "block1a_dwconv/kernel"}), _keras, is_torch=False),
)
_UNSUPPORTED = {
    r"features\.\d+\.\d+\.block\.": "an EfficientNet of torchvision, whose padding differs from TensorFlow's",
    r"backbone\.conv_stem\.|fpn\.cell\.": "a detector of effdet, whose neck and heads are not read",
    r"layer1\.0\.conv1\.": "a ResNet",
    r"model\.\d+\.(conv|cv1)\.": "a YOLO detector",
    r"block\d+[a-z]+_(expand|project)_conv": "an EfficientNetV2 of Keras",
}
_BLOCK_KEY = re.compile(r"_?blocks\.\d|block\d+[a-z]+_")


def recognize(shapes: Mapping[str, Shape], path: object) -> Recognized:
    """Returns the network of a file and the keys of its variables, from keys and shapes.

    Args:
      shapes: key → shape; keys of an HDF5 file as `layer/variable`.
      path: of the file, for the error.

    Raises:
      CheckpointError: they belong to another network.
    """
    layout = next((each for each in LAYOUTS if each.markers <= shapes.keys()), None)
    if layout is None:
        kind = next((kind for words, kind in _UNSUPPORTED.items() if any(re.match(words, key) for key in shapes)), None)
        found = f"of {kind}" if kind else f"of another network: {', '.join(sorted(shapes)[:3])[:200]} …"
        raise CheckpointError(
            f"{path} must hold weights of an EfficientNet as efficientnet-pytorch, timm (tf_efficientnet_…) or "
            f"keras.applications name them. They are {found}."
        )
    for backbone in SCALES:
        if (match := _match(layout, backbone, shapes)) is not None:
            return match
    stem = next(shapes[key] for key in layout.markers if "stem_conv" in key or "conv_stem" in key)
    raise CheckpointError(
        f"{path} must hold all weights of an EfficientNet, b0 to b8, l2 or lite0 to lite4. Its names are those of "
        f"{layout.name}, but its {len(shapes)} shapes, the first of them {stem}, are of none of these."
    )


class _Variable(NamedTuple):
    """A variable in automl's names and in those of a layout."""

    name: str
    key: str
    shape: Shape
    """In the file; 0 matches any size."""
    axes: tuple[int, ...] | None

    def fits(self, found: Shape | None) -> bool:
        """Returns whether the shape of the file matches that of the variable."""
        if found is None or len(found) != len(self.shape):
            return False
        return all(want in (0, have) for have, want in zip(found, self.shape, strict=True))


def _match(layout: Layout, backbone: str, shapes: Mapping[str, Shape]) -> Recognized | None:
    variables = _variables(layout, backbone)
    # Files without a classifier, or without the whole head, match too.
    wanted = [each for each in variables if each.key in shapes or not each.name.startswith(f"{backbone}/head/")]
    if not all(each.fits(shapes.get(each.key)) for each in wanted):
        return None
    others = shapes.keys() - {each.key for each in wanted}
    if any(_BLOCK_KEY.match(key) and not key.endswith("num_batches_tracked") for key in others):
        return None
    axes = {each.name: each.axes for each in wanted if each.axes is not None}
    return Recognized(layout.name, backbone, {each.name: each.key for each in wanted}, axes)


@functools.cache
def _variables(layout: Layout, backbone: str) -> list[_Variable]:
    specs = block_specs(backbone)
    found = []
    for layer in _layers(backbone):
        kernels = ("kernel", "bias") if layer.has_bias else ("kernel",)
        for variable in _NORM if layer.kind == "norm" else kernels:
            is_kernel = variable == "kernel"
            axes = _TORCH_AXES[layer.kind] if layout.is_torch and is_kernel else None
            shape = layer.shape if is_kernel else layer.shape[-1:]
            if axes is not None:
                shape = tuple(shape[axes.index(axis)] for axis in range(len(axes)))
            prefix = layout.layer(layer, specs)
            key = f"{prefix}.{_TORCH_VARIABLES[variable]}" if layout.is_torch else f"{prefix}/{variable}"
            own = "depthwise_kernel" if layer.kind == "depthwise" else variable
            found.append(_Variable(f"{backbone}/{layer.scope}/{own}", key, shape, axes))
    return found
