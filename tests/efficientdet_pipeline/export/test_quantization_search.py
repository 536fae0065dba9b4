"""The smallest set of layers in float is found, and int8 files are written with it."""

from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.errors import AccuracyError, DataError, MissingError
from efficientdet_pipeline.export.quantization_search import QuantizationSearch, read_recipe
from efficientdet_pipeline.export.trained_detector import TrainedDetector, signal_to_noise
from efficientdet_pipeline.inference.canvas import pixel_canvases
from efficientdet_pipeline.inference.tflite_loader import TfliteRunner


@pytest.fixture(scope="module")
def search(detector: TrainedDetector) -> QuantizationSearch:
    return QuantizationSearch(detector)


def test_layer_ratios_are_sorted_and_finite(search: QuantizationSearch) -> None:
    ratios = search.layer_ratios()
    assert len(ratios) > 50
    decibels = [each.decibels for each in ratios]
    assert decibels == sorted(decibels)
    assert 10 < decibels[0] < decibels[-1]
    assert any("class_head" in each.short_name for each in ratios)


def test_quantized_with_all_layers_in_float_is_exact(
    search: QuantizationSearch, detector: TrainedDetector, images: list[np.ndarray]
) -> None:
    names = [each.name for each in search.layer_ratios()]
    canvas = np.asarray(pixel_canvases(images[0][None], detector.config)[0])
    expected = [np.asarray(each) for each in detector.raw_heads(batch_size=1, dtype="float32").function(canvas)]
    ratios = []
    for kept in ([], names):
        logits, deltas = TfliteRunner(search.quantized(kept)).run_heads(canvas)
        assert deltas.shape == expected[1].shape
        ratios.append(signal_to_noise(expected[0], logits))
    assert ratios[0] + 10 < ratios[1]


def test_smallest_recipe_finds_the_least_number(
    search: QuantizationSearch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried: list[int] = []

    def quantized(names: list[str]) -> bytes:
        tried.append(len(names))
        return bytes(len(names))

    monkeypatch.setattr(search, "quantized", quantized)
    for needed in (0, 1, 5, 8):
        tried.clear()
        recipe = search.smallest_recipe(lambda content: float(len(content)), min_score=needed)
        assert len(recipe.float_layers) == needed
        assert len(tried) == len(set(tried)) <= 8
    with pytest.raises(AccuracyError, match=r"int8 must reach AP 9.0000. Received 4.0000 with the 4 least accurate"):
        search.smallest_recipe(lambda content: float(len(content)), min_score=9, max_layers=4)
    recipe.write(tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe


def test_read_recipe_refuses(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("score: 1\n")
    with pytest.raises(DataError, match=r"quantization.yaml of an earlier --quant_debug, .*KeyError: 'float_layers'"):
        read_recipe(path)
    with pytest.raises(MissingError, match=r"recip.yaml does not exist\. Similar names: .*recipe\.yaml"):
        read_recipe(tmp_path / "recip.yaml")
