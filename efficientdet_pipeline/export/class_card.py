"""Model card of an export of segmentation or classification: purpose, data, accuracy and limitations."""

from collections.abc import Mapping

from efficientdet_pipeline.export.gate import GateReport
from efficientdet_pipeline.export.model_card import ModelFacts, card_lines, escaped, statements
from efficientdet_pipeline.models.class_networks import ClassNetwork

METRICS: Mapping[str, tuple[str, ...]] = {
    "segmentation": ("mIoU", "pixel_accuracy", "Dice", "boundary_F1"),
    "classification": ("accuracy", "top5", "balanced_accuracy"),
}
"""Task → metrics that a card states."""
_LIMITATIONS = (
    "The network has learnt from its training images only, and gives each pixel or image one of its classes, also",
    "where none of them fits. Evaluate it on images of the place of use before relying on it; its probabilities are",
    "not calibrated.",
)


def class_card(network: ClassNetwork, facts: ModelFacts, report: GateReport | None = None) -> str:
    """Returns the model card as Markdown.

    Args:
      network: of the export.
      facts: of the run and its user.
      report: of the accuracy gate, if artifacts were measured.
    """
    height, width = network.image_size
    what, size = {
        "segmentation": (
            "Semantic segmentation (the class of each pixel) by a U-Net",
            f"It was trained on canvases of {width}x{height} px (width x height) and takes images of any size.",
        ),
        "classification": (
            "Classification of images",
            f"It sees a square of {width} px from the middle of each image.",
        ),
    }[network.task]
    names = ", ".join(f"{column} {escaped(name)}" for column, name in enumerate(network.names))
    lines = [
        *(f"# {network.name}", "", "## Model", ""),
        f"{what}, {network.name} with the encoder {network.config.backbone_name}, for {len(network.names)} classes.",
        *(size, "", f"Classes, by column: {names}.", ""),
        *statements(facts),
    ]
    return card_lines(lines, facts, report, _LIMITATIONS)
