"""The model card states known facts, and marks unknown ones."""

from efficientdet.config import get_config

from efficientdet_pipeline.export.gate import GateReport, Measured
from efficientdet_pipeline.export.model_card import UNSTATED, ModelFacts, model_card


def test_model_card_has_artifacts_and_classes_and_escapes_names() -> None:
    measured = Measured(
        name="tflite_int8",
        bytes=4_200_000,
        score=0.49,
        per_class={},
        drop=-0.00001,
        max_drop=0.01,
        canvas_drop=None,
        suppression_drop=None,
        milliseconds=None,
        decibels={},
    )
    per_class = {"a|b": 0.5, "<b>": -1.0}
    report = GateReport(score=0.5, per_class=per_class, milliseconds=None, artifacts=(measured,), num_images=72)
    config = get_config("efficientdet-lite0", num_classes=2, image_size="320x256")
    facts = ModelFacts(license="Apache-2.0", thresholds={"cat": 0.35})
    card = model_card(config, {1: "a|b", 2: "<b>"}, facts, report)
    assert "320x256 px (width x height)" in card
    assert "| tflite_int8 | 0.4900 | +0.0000 | 4.2 |" in card
    assert "| a\\|b | 0.5000 |" in card
    assert "| &lt;b> | no examples |" in card
    assert "&lt;b>" in card
    assert "| cat | 0.350 |" in card
    assert card.count(UNSTATED) == 3  # start, data, intended use
