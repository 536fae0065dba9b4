"""Parts from outside the packages: a backbone, a neck, an augmentation and an export format, in one training."""

import json
from collections.abc import Callable
from pathlib import Path

import efficientdet
import pytest
import tiny_parts
from efficientdet.backbones import BACKBONES, Backbone
from efficientdet.flops import model_cost
from efficientdet.necks.fpn_designs import DESIGNS, Design

from efficientdet_pipeline.augment.transforms import AUGMENTATIONS
from efficientdet_pipeline.demo_dataset import write_demo_dataset
from efficientdet_pipeline.export.formats import FORMATS, ExportFormat
from efficientdet_pipeline.options.export import EXPORT_FORMATS
from efficientdet_pipeline.options.transforms import ARGUMENTS

NETWORK = "backbone_name=strided,fpn_name=top_down,fpn_cell_repeats=1,box_class_repeats=1,fpn_num_filters=8"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds a line to each table."""
    monkeypatch.setitem(BACKBONES, "strided", Backbone("tiny_parts", lambda backbone_config: 5))
    monkeypatch.setitem(DESIGNS, "top_down", Design(build=tiny_parts.top_down))
    monkeypatch.setitem(ARGUMENTS, "Invert", {"strength": 1.0})
    monkeypatch.setitem(AUGMENTATIONS, "Invert", tiny_parts.invert)
    monkeypatch.setitem(EXPORT_FORMATS, "copy", "a SavedModel under another name")
    copy = ExportFormat(name="copy", file="{model}.copy", write=tiny_parts.write_copy, load=tiny_parts.load_copy)
    monkeypatch.setitem(FORMATS, "copy", copy)


def test_backbone_from_outside_has_operations_and_levels(tiny: None) -> None:
    config = efficientdet.get_config(
        "efficientdet-d0", image_size=64, **dict(each.split("=") for each in NETWORK.split(","))
    )
    cost = model_cost(efficientdet.build_model(config)).parts[0]
    assert (cost.name, cost.trainable) == ("backbone", 3 * 8 * 9 + 8 + 4 * (8 * 8 * 9 + 8))
    places = [(64 >> level) ** 2 for level in range(1, 6)]
    assert cost.flops == sum(places) * 8 // 2 + places[0] * 3 * 8 * 9 + sum(places[1:]) * 8 * 8 * 9


def test_parts_from_outside_train_evaluate_and_export(tiny: None, main: Callable[..., int], tmp_path: Path) -> None:
    write_demo_dataset(tmp_path / "d.zip", num_images=12, image_size=(72, 64))
    steps = json.dumps([{"name": "Invert", "strength": 0.5, "p": 0.5}])
    assert not main(
        f"--url_dataset={tmp_path / 'd.zip'}",
        f"--hparams={NETWORK}",
        "--image_size=64",
        "--pretrained_ckpt=none",
        "--recipe=none",
        f"--augment_steps={steps}",
        "--num_epochs=1",
        "--batch_size=2",
        "--num_workers=1",
        "--formats=copy",
        "--run_name=run",
    )
    export = tmp_path / "runs" / "run" / "export"
    assert (export / "efficientdet-d0.copy" / "saved_model.pb").is_file()
    image = next((tmp_path / "runs" / "run").rglob("*.png"))
    assert not main(
        "--mode=infer",
        f"--saved_model_dir={export / 'efficientdet-d0.copy'}",
        f"--input_image={image}",
        f"--output_image_dir={tmp_path / 'out'}",
    )
    assert list((tmp_path / "out").iterdir())
