"""Variable names of automl; no other module defines them.

automl's names are those of a TensorFlow 1 graph, including the numbers that
Keras appends within a scope (`conv2d`, `conv2d_1`). They are written out here
and not counted per process, so that a second model has the same names.
"""

from collections.abc import Iterator

import keras

from efficientdet.backbones.efficientnet import EfficientNet, MBConv
from efficientdet.classifier import ClassifierHead
from efficientdet.detectors.detector import OneStageDetector
from efficientdet.heads.mask_head import MaskHead
from efficientdet.heads.prediction_head import PredictionTower
from efficientdet.layers import Resample
from efficientdet.model import Detector
from efficientdet.necks.neck import Neck
from efficientdet.necks.parallel_cell import ParallelCell

Named = Iterator[tuple[str, keras.Variable]]
Block = tuple[EfficientNet | Neck | PredictionTower, int]
"""A part of the network and the index of one of its blocks, cells or layers."""


def variable_names(model: Detector | OneStageDetector) -> dict[str, keras.Variable]:
    """Returns all weights of the model by their names in automl.

    Names are as in automl's TF1 checkpoints: no `:0`, no prefix for the model,
    for example `efficientnet-b0/stem/conv2d/kernel`. A classifier has the names
    of a backbone and the head of ImageNet checkpoints.
    """
    if isinstance(model, OneStageDetector):
        return {weight.path: weight for weight in model.weights}
    names = dict(_backbone(model.backbone, model.config.backbone_name))
    if not isinstance(model, Detector):
        return names | dict(_imagenet_head(model.head, f"{model.config.backbone_name}/head"))
    names |= dict(_neck(model.neck))
    if model.class_head is not None:
        names |= dict(_tower(model.class_head, "class_net", "class"))
        names |= dict(_tower(model.box_head, "box_net", "box"))
    if model.mask_head is not None:
        names |= dict(_mask_head(model.mask_head))
    return names


def block_names(model: Detector | OneStageDetector) -> dict[str, Block]:
    """Returns the blocks that automl's grad_checkpoint recomputes, by the scope of their variables.

    That is each block of the backbone, `efficientnet-b0/blocks_3`, each cell of
    the neck, `fpn_cells/cell_0`, and each layer of the heads, `class_net/class-1`.
    Of a detector built from parts it is what of these it has.
    """
    if isinstance(model, OneStageDetector):
        own: dict[str, Block] = {}
        if isinstance(model.backbone, EfficientNet):
            count = len(model.backbone.blocks)
            own |= {f"backbone/blocks_{number}": (model.backbone, number) for number in range(count)}
        if isinstance(model.neck, Neck):
            own |= {f"neck/cell_{number}": (model.neck, number) for number in range(len(model.neck.cells))}
        return own
    parts: list[tuple[str, EfficientNet | Neck | PredictionTower, int]] = []
    if isinstance(model.backbone, EfficientNet):
        parts.append((f"{model.config.backbone_name}/blocks_", model.backbone, len(model.backbone.blocks)))
    parts += [("fpn_cells/cell_", model.neck, len(model.neck.cells))]
    for scope, head in (("class_net/class-", model.class_head), ("box_net/box-", model.box_head)):
        if head is not None:
            parts.append((scope, head, len(head.convs)))
    return {f"{scope}{number}": (part, number) for scope, part, count in parts for number in range(count)}


def _layer(layer: keras.layers.Layer | None, scope: str) -> Named:
    """Yields a layer's weights; Keras names kernels, biases and statistics as automl does."""
    for weight in layer.weights if layer is not None else ():
        yield f"{scope}/{weight.name}", weight


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name


def _backbone(backbone: keras.layers.Layer, scope: str) -> Named:
    if not isinstance(backbone, EfficientNet):  # automl has no name for it.
        for number, weight in enumerate(backbone.weights):
            yield f"{scope}/{number}/{weight.name}", weight
        return
    yield from _layer(backbone.stem_conv, f"{scope}/stem/conv2d")
    yield from _layer(backbone.stem_norm, f"{scope}/stem/tpu_batch_normalization")
    for index, block in enumerate(backbone.blocks):
        yield from _block(block, f"{scope}/blocks_{index}")


def _imagenet_head(head: ClassifierHead | None, scope: str) -> Named:
    if head is not None:
        yield from _layer(head.conv, f"{scope}/conv2d")
        yield from _layer(head.norm, f"{scope}/tpu_batch_normalization")
        yield from _layer(head.predict, f"{scope}/dense")


def _block(block: MBConv, scope: str) -> Named:
    is_depthwise = isinstance(block.spatial_conv, keras.layers.DepthwiseConv2D)
    convs = [block.expand_conv, None if is_depthwise else block.spatial_conv, block.project_conv]
    norms = [block.expand_norm, block.spatial_norm, block.project_norm]
    for name, layers in (("conv2d", convs), ("tpu_batch_normalization", norms)):
        for number, layer in enumerate(layer for layer in layers if layer is not None):
            yield from _layer(layer, f"{scope}/{_numbered(name, number)}")
    if is_depthwise:
        yield f"{scope}/depthwise_conv2d/depthwise_kernel", block.spatial_conv.kernel
    if block.squeeze_excite is not None:
        yield from _layer(block.squeeze_excite.reduce, f"{scope}/se/conv2d")
        yield from _layer(block.squeeze_excite.expand, f"{scope}/se/conv2d_1")


def _neck(neck: Neck) -> Named:
    for level, resample in neck.extra_levels.items():
        yield from _resample(resample, f"resample_p{level}")
    for cell_index, cell in enumerate(neck.cells):
        if isinstance(cell, ParallelCell):
            yield from _parallel_cell(cell, f"fpn_cells/cell_{cell_index}")
            continue
        for node_index, node in enumerate(cell.nodes):
            scope = f"fpn_cells/cell_{cell_index}/fnode{node_index}"
            num_maps = len(neck.config.levels) + node_index
            for edge, (resample, number) in enumerate(zip(node.resamples, node.node.inputs, strict=True)):
                yield from _resample(resample, f"{scope}/resample_{edge}_{number}_{num_maps}")
            for edge, weight in enumerate(node.fusion.edge_weights):
                yield f"{scope}/{_numbered('WSM', edge)}", weight
            yield from _layer(node.conv, f"{scope}/op_after_combine{num_maps}/conv")
            yield from _layer(node.norm, f"{scope}/op_after_combine{num_maps}/bn")


def _parallel_cell(cell: ParallelCell, scope: str) -> Named:
    """Yields the weights of all paths joined; the names are our own, since automl has no such network."""
    for index, row in enumerate(cell.rows):
        row_scope = f"{scope}/row{index}"
        for edge, resample in enumerate(row.resamples):
            yield from _resample(resample, f"{row_scope}/resample_{edge}")
        if row.edge_weights is not None:
            yield f"{row_scope}/WSM", row.edge_weights
        yield from _layer(row.conv, f"{row_scope}/op_after_combine/conv")
        yield from _layer(row.norm, f"{row_scope}/op_after_combine/bn")


def _resample(resample: Resample, scope: str) -> Named:
    yield from _layer(resample.conv, f"{scope}/conv2d")
    yield from _layer(resample.norm, f"{scope}/bn")


def _tower(tower: PredictionTower, scope: str, word: str) -> Named:
    for repeat, (conv, norms) in enumerate(zip(tower.convs, tower.norms, strict=True)):
        yield from _layer(conv, f"{scope}/{word}-{repeat}")
        for level, norm in norms.items():
            yield from _layer(norm, f"{scope}/{word}-{repeat}-bn-{level}")
    yield from _layer(tower.predict, f"{scope}/{word}-predict")


def _mask_head(head: MaskHead) -> Named:
    for step, (upsample, norm) in enumerate(zip(head.upsamples, head.norms, strict=True)):
        yield from _layer(upsample, f"segmentation_head/{_numbered('conv2d_transpose', step)}")
        yield from _layer(norm, f"segmentation_head/bn_{step}")
    yield from _layer(head.predict, f"segmentation_head/{_numbered('conv2d_transpose', len(head.upsamples))}")
