"""Object paths of variables in automl's TensorFlow 2 checkpoints.

An object is addressed by the attribute that holds it, so the paths contain
neither the name of the backbone nor the numbers that Keras appends.
"""

import re
from collections.abc import Collection

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
"""Suffix of every key; the path comes before it."""


def object_paths(names: Collection[str], *, backbone_name: str, min_level: int) -> dict[str, str]:
    """Returns the path of each variable that has one, by automl's name.

    Args:
      names: of all variables of one model.
      backbone_name: the first component of names in the backbone.
      min_level: lowest level of the pyramid; heads count their levels from it.

    >>> object_paths(["class_net/class-0-bn-4/beta"], backbone_name="efficientnet-b0", min_level=3)
    {"class_net/class-0-bn-4/beta": "class_net/bns/0/1/beta"}
    """
    scope = f"{backbone_name}/"
    blocks = _block_layers(names, scope)
    num_mask_steps = len({name.split("/")[1] for name in names if name.startswith("segmentation_head/bn_")})
    paths = {}
    for name in names:
        if name.startswith(scope):
            path = _in_backbone(name.removeprefix(scope), blocks)
        elif name.startswith("segmentation_head/"):
            path = _in_mask_head(name, num_mask_steps)
        else:
            path = _elsewhere(name, min_level)
        if path is not None:
            paths[name] = path
    return paths


def hub_path(name: str) -> str:
    """Returns the object path of a variable in a detector trained on one of automl's hub modules."""
    for head, layer in (("class_net/class-predict/", "classes/"), ("box_net/box-predict/", "boxes/")):
        if name.startswith(head):
            return layer + name.removeprefix(head)
    return "base_model/" + f"{name}:0".replace("/", ".S")


def _block_layers(names: Collection[str], scope: str) -> dict[str, dict[str, str]]:
    """Returns, for each block, its layers conv2d, conv2d_1 … mapped to the attribute of their role."""
    layers: dict[str, set[str]] = {}
    for name in names:
        if match := re.match(rf"{re.escape(scope)}(blocks_\d+)/([^/]+)/", name):
            layers.setdefault(match[1], set()).add(match[2])
    roles = {}
    for block, present in layers.items():
        norms = sorted(layer for layer in present if layer.startswith("tpu_batch_normalization"))
        convs = sorted(layer for layer in present if layer.startswith("conv2d"))
        first = "_expand_conv" if "depthwise_conv2d" in present else "_fused_conv"
        # A block without expansion lacks the first normalization, not the last.
        roles[block] = {layer: f"_bn{3 - len(norms) + number}" for number, layer in enumerate(norms)}
        roles[block] |= dict(zip(convs, [first, "_project_conv"][-len(convs) :], strict=False))
    return roles


_FIXED_LAYERS = {
    "depthwise_conv2d": "_depthwise_conv",
    "se/conv2d": "_se/_se_reduce",
    "se/conv2d_1": "_se/_se_expand",
}


def _in_backbone(rest: str, blocks: dict[str, dict[str, str]]) -> str | None:
    scope, layer_and_leaf = rest.split("/", 1)
    layer, leaf = layer_and_leaf.rsplit("/", 1)
    if scope == "stem":
        return f"backbone/_stem/{'_conv_stem' if layer == 'conv2d' else '_bn'}/{leaf}"
    role = _FIXED_LAYERS.get(layer) or blocks[scope].get(layer)
    return f"backbone/_blocks/{scope.removeprefix('blocks_')}/{role}/{leaf}" if role else None


def _in_mask_head(name: str, num_steps: int) -> str:
    layer, leaf = name.split("/")[1:]
    number = int(layer.rsplit("_", 1)[-1]) if layer[-1].isdigit() else 0
    if layer.startswith("bn_"):
        return f"seg_head/con2d_t_bns/{number}/{leaf}"
    return f"seg_head/con2d_ts/{number}/{leaf}" if number < num_steps else f"seg_head/head_transpose/{leaf}"


def _elsewhere(name: str, min_level: int) -> str | None:
    if match := re.fullmatch(r"resample_p(\d+)/(.+)", name):
        return f"resample_layers/{int(match[1]) - 6}/{match[2]}"
    if match := re.fullmatch(r"fpn_cells/cell_(\d+)/fnode(\d+)/(.+)", name):
        rest = re.sub(r"^resample_(\d+)_\d+_\d+/", r"resample_layers/\1/", match[3])
        rest = re.sub(r"^op_after_combine\d+/conv/", "op_after_combine/conv_op/", rest)
        rest = re.sub(r"^op_after_combine\d+/bn/", "op_after_combine/bn/", rest)
        return f"fpn_cells/cells/{match[1]}/fnodes/{match[2]}/{rest}"
    if match := re.fullmatch(r"(class|box)_net/\1-(\d+)-bn-(\d+)/(.+)", name):
        return f"{match[1]}_net/bns/{match[2]}/{int(match[3]) - min_level}/{match[4]}"
    if match := re.fullmatch(r"(class|box)_net/\1-(\d+)/(.+)", name):
        return f"{match[1]}_net/conv_ops/{match[2]}/{match[3]}"
    if match := re.fullmatch(r"(class|box)_net/\1-predict/(.+)", name):
        return f"{match[1]}_net/{'classes' if match[1] == 'class' else 'boxes'}/{match[2]}"
    return None
