"""The model card of a class network states data, metrics, intended use and license."""

import pytest
from small_class_networks import CLASSIFICATION, SEGMENTATION

from efficientdet_pipeline.export.class_card import METRICS, class_card
from efficientdet_pipeline.export.gate import GateReport, Measured
from efficientdet_pipeline.export.model_card import UNSTATED, ModelFacts
from efficientdet_pipeline.models.class_networks import ClassNetwork


def report(metric: str) -> GateReport:
    measured = Measured(
        name="tflite", bytes=2_000_000, score=0.8, per_class={}, drop=0.02, max_drop=0.05, canvas_drop=0.02,
        suppression_drop=None, milliseconds=None, decibels={},
    )  # fmt: skip
    return GateReport(
        score=0.82, per_class={"a": 0.5}, milliseconds=None, artifacts=(measured,), num_images=5, metric=metric
    )


@pytest.mark.parametrize(
    ("network", "what", "by_class"),
    [
        (SEGMENTATION, "takes images of any size", "| class | IoU |"),
        (CLASSIFICATION, "a square of 64 px from the middle", "| class | recall |"),
    ],
)
def test_class_card_states_the_facts(network: ClassNetwork, what: str, by_class: str) -> None:
    name = METRICS[network.task][0]
    facts = ModelFacts(data="9 images.", license="CC0-1.0", start="random weights", metrics={name: 0.9})
    card = class_card(network, facts, report(name))
    for text in (
        *(f"# {network.name}\n", what, by_class, "for 3 classes", "Trained from: random weights"),
        *("## Data\n\n9 images.", "## License\n\nCC0-1.0", f"| {name} | 0.9000 |"),
        *(f"| artifact | {name} | {name} lost | MB |", "| tflite | 0.8000 | +0.0200 | 2.0 |", "| a | 0.5000 |"),
    ):
        assert text in card
    assert card.count(UNSTATED) == 1  # intended use
    assert class_card(network, ModelFacts()).count(UNSTATED) == 5
