"""The bottleneck is the slower part, and advice omits flags that are already set."""

from typing import Any

import pytest

from efficientdet_pipeline.benchmarking.bottleneck import BALANCED, LOADER, STEP, Speeds, advice, best_of
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions

GPU = {"is_cpu": False, "cores": 8, "precision": "float32"}
CPU = {"is_cpu": True, "cores": 2, "precision": "float32"}


def speeds(loader: float, step: float, together: float, batch_size: int = 8) -> Speeds:
    return Speeds(batch_size=batch_size, loader=loader, step=step, together=together)


def said(sweep: list[Speeds], machine: dict[str, Any] = GPU, **options: Any) -> str:
    return " ".join(advice(sweep, compose(TrainOptions, url_dataset="demo", **options), machine))


@pytest.mark.parametrize(
    ("loader", "step", "expected"),
    [(100.0, 300.0, LOADER), (300.0, 100.0, STEP), (100.0, 105.0, BALANCED), (105.0, 100.0, BALANCED)],
)
def test_bottleneck_slower_part_is_the_bottleneck(loader: float, step: float, expected: str) -> None:
    assert speeds(loader, step, 95.0).bottleneck == expected


def test_bottleneck_best_batch_size_is_that_of_the_quickest_training() -> None:
    sweep = [speeds(100.0, 50.0, 48.0, 4), speeds(100.0, 80.0, 76.0, 8), speeds(100.0, 90.0, 70.0, 16)]
    assert best_of(sweep).batch_size == 8
    assert "Fastest is batch_size=8, 76.0 images per second" in said(sweep)


def test_bottleneck_slow_loader_is_logged_with_the_flags_that_help() -> None:
    text = said([speeds(100.0, 300.0, 95.0)], mosaic=1.0)
    assert "The bottleneck is the loader: 100 images per second alone, while the other one reaches 300." in text
    assert "--cache=memory" in text
    assert "a lighter --augment_recipe" in text
    assert "more CPU cores (it has 8)" in text
    done = said([speeds(100.0, 300.0, 95.0)], cache="memory", augment=False, prepare_size=512)
    assert "Try more CPU cores (it has 8)." in done


def test_bottleneck_slow_step_is_logged_with_the_flags_that_help() -> None:
    sweep = [speeds(900.0, 200.0, 190.0, 8), speeds(900.0, 300.0, 290.0, 16)]
    text = said(sweep)
    assert "The bottleneck is the step" in text
    assert "--precision=mixed_bfloat16" in text
    assert "a larger --batch_size than 16, with --grad_checkpoint if memory is short" in text
    text = said(sweep, {**GPU, "precision": "mixed_bfloat16"}, grad_checkpoint="true")
    assert "--precision" not in text
    assert "no --grad_checkpoint, if memory allows" in text
    assert "Try a GPU, a smaller --image_size, a smaller --model_name." in said(sweep, CPU)


def test_bottleneck_balanced_parts_and_parts_that_disturb_each_other_are_logged() -> None:
    text = said([speeds(100.0, 102.0, 55.0)], CPU)
    assert "balanced" in text
    assert "reaches 55% of the slower part alone: both use the same CPU cores" in text
    assert "copying to the device" in said([speeds(100.0, 300.0, 55.0)])


def test_bottleneck_figures_that_cannot_be_are_not_left_without_a_word() -> None:
    assert "150% of the slower part alone, which is impossible" in said([speeds(900.0, 100.0, 150.0)])
    assert "cannot be" not in said([speeds(900.0, 100.0, 105.0)])
