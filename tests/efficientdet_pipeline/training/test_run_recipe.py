"""Recipe of a run: when it is chosen, precedence of explicit options, resumed runs, and recorded files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from run_sessions import opened, read_options

from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.data.dataset_stats import read_boxes
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.models.anchor_fit import AnchorGrid
from efficientdet_pipeline.models.pretrained import StartWeights
from efficientdet_pipeline.models.recipe import DatasetFacts, Recipe, box_facts, choose_recipe
from efficientdet_pipeline.runs import metadata
from efficientdet_pipeline.training import checkpoint_io, run_recipe
from efficientdet_pipeline.training.run_recipe import TURNS_IT_OFF, _least_recall, choose_for_run, is_wanted
from efficientdet_pipeline.training.session import RunSession

RANDOM = StartWeights("pretrained_ckpt", "", False)
BACKBONE = StartWeights("backbone_ckpt", "efficientnet-lite0", True)


@pytest.fixture(scope="module")
def shards(toy_run: Path) -> Shards:
    """Returns the shards of the toy run: drawn images of 72 x 64 pixels."""
    train = tuple(map(str, sorted((toy_run / "tfrecords").glob("train-*"))))
    return Shards(train=train, val=(), num_train=9, num_classes=4, label_map={}, max_instances=9)


def recipe_for(shards: Any, *argv: str, start: StartWeights = RANDOM, has_accelerator: bool = False) -> Recipe:
    options, read, hparams = read_options(*argv)
    return choose_for_run(
        options,
        hparams,
        shards,
        start,
        model_name="efficientdet-lite0",
        given=metadata.sources_of(read, hparams),
        has_accelerator=has_accelerator,
    )


def begun(workspace: Path, shards: Any, *argv: str) -> RunSession:
    """Starts a run like a training, up to its first checkpoint."""
    with opened(workspace, *argv) as (new, read):
        run = new.with_recipe(recipe_for(shards, *argv), read) if new.chooses_recipe else new
        metadata.update_json(run.folder.metadata, {"shaping": run.shape})
        checkpoint_io.write_checkpoint(run.folder.last, {"state.npz": lambda path: path.write_bytes(b"1")}, {"step": 1})
        return run


def test_is_wanted_by_default_where_nothing_that_it_decides_is_given() -> None:
    assert is_wanted("", ["url_dataset", "num_epochs", "batch_size", "pretrained_ckpt", "model_name"])
    assert not any(is_wanted("", ["url_dataset", name]) for name in TURNS_IT_OFF)
    assert is_wanted("auto", ["learning_rate"])
    assert not is_wanted("none", [])


def test_choose_for_run_follows_data_weights_and_device(shards: Any) -> None:
    scratch, backbone = recipe_for(shards).options(), recipe_for(shards, start=BACKBONE).options()
    assert (scratch["optimizer"], scratch["image_size"], scratch["batch_size"]) == ("adam", "256", 4)
    assert "freeze_backbone_epochs" not in scratch
    assert 0 < backbone["freeze_backbone_epochs"] < backbone["num_epochs"]
    assert recipe_for(shards, has_accelerator=True).options()["num_epochs"] >= scratch["num_epochs"]


def test_choose_for_run_leaves_what_is_given(shards: Any) -> None:
    given = ["--recipe=auto", "--num_epochs=3", "--learning_rate=0.01", "--image_size=128", "--batch_size=4"]
    options = recipe_for(shards, *given, start=BACKBONE).options()
    assert not {"num_epochs", "learning_rate", "lr_warmup_init", "image_size", "batch_size"} & options.keys()
    # Options that are not given follow from those that are.
    assert (options["freeze_backbone_epochs"], options["map_freq"]) == (2, 1)
    assert not {"map_freq", "val_loss"} & recipe_for(shards, "--mode=train").options().keys()
    assert "jitter_max" not in recipe_for(shards, "--recipe=auto", "--jitter_min=0.5").options()


def test_choose_for_run_keeps_defaults_for_many_images(shards: Any) -> None:
    assert recipe_for(shards, "--num_examples_per_epoch=5000") == Recipe()


def test_choose_for_run_fits_anchors_unless_they_are_given(shards: Any) -> None:
    # At 48 pixels, no anchor of the model is as small as the shapes.
    fitted = recipe_for(shards, "--recipe=auto", "--image_size=48").options()["hparams"]
    assert "anchor_scale=" in str(fitted)
    given = recipe_for(shards, "--recipe=auto", "--image_size=48", "--hparams=anchor_scale=3")
    assert "hparams" not in given.options()


def test_least_recall_is_that_of_the_worst_class() -> None:
    grid = AnchorGrid(
        image_size=(256, 256),
        min_level=3,
        max_level=7,
        num_scales=3,
        aspect_ratios=(1.0, 2.0, 0.5),
        anchor_scale=(4.0,) * 5,
    )
    # An anchor of 32 pixels is centered here; none overlaps a box of 8 by half.
    large, small = [(4.0, 4.0, 36.0, 36.0)], [(16.0, 16.0, 24.0, 24.0)]
    boxes = np.array(large * 90 + small * 10)
    assert _least_recall(grid, boxes, np.repeat([1, 2], [90, 10])) == 0.0
    # A single box is not enough for a class.
    assert _least_recall(grid, boxes[:91], np.repeat([1, 2], [90, 1])) == 1.0
    assert _least_recall(grid, boxes[:3], np.array([1, 2, 3])) == 1.0


def test_with_recipe_applies_records_and_explains(shards: Any, tmp_path: Path) -> None:
    argv = ["--run_name=one", "--recipe=auto", "--hparams=fpn_cell_repeats=2", "--image_size=48"]
    with opened(tmp_path, *argv) as (new, read):
        assert new.chooses_recipe
        recipe = recipe_for(shards, *argv)
        run = new.with_recipe(recipe, read)
    assert run.options.optimizer.optimizer == "adam"
    assert run.hparams.network["fpn_cell_repeats"] == 2
    assert "anchor_scale" in run.hparams.network
    text = run.folder.args.read_text(encoding="utf-8")
    args = yaml.safe_load(text)
    assert (args["recipe"], args["optimizer"], args["num_epochs"]) == ("auto", "adam", recipe.options()["num_epochs"])
    assert args["hparams"].endswith(",fpn_cell_repeats=2")
    assert "optimizer: adam  # --recipe=auto: neck and heads start from random" in text
    assert "image_size: '48'  # the command line" in text


def test_run_keeps_its_recipe_whatever_the_data_say_later(shards: Any, tmp_path: Path) -> None:
    first = begun(tmp_path, shards, "--run_name=one", "--num_epochs=2")
    with opened(tmp_path, "--run_name=one", "--num_epochs=2") as (run, _):
        assert run.is_resumed
        assert not run.chooses_recipe
        assert run.options == first.options
        assert run.hparams == first.hparams
        assert yaml.safe_load(run.folder.args.read_text(encoding="utf-8"))["optimizer"] == "adam"
    with opened(tmp_path, "--run_name=one", "--num_epochs=9") as (run, _):
        assert (run.options.optimizer.num_epochs, run.options.optimizer.optimizer) == (9, "adam")


def test_run_under_its_automatic_name_keeps_its_recipe(shards: Any, tmp_path: Path) -> None:
    first = begun(tmp_path, shards)
    with opened(tmp_path) as (run, _):
        assert (run.folder, run.options) == (first.folder, first.options)
    other = begun(tmp_path, shards, "--recipe=none")
    assert other.folder != first.folder
    assert other.options.optimizer.optimizer == "sgd"


@pytest.mark.parametrize("named", [[], ["--run_name=one"]])
def test_run_of_an_earlier_version_continues_without_a_recipe(named: list[str], shards: Any, tmp_path: Path) -> None:
    earlier = begun(tmp_path, shards, *named, "--recipe=none")
    shape = {name: value for name, value in earlier.shape.items() if name != "recipe"}
    folder = earlier.folder.path
    metadata.update_json(earlier.folder.metadata, {"shaping": shape})
    if not named:
        from efficientdet_pipeline.runs.run_id import run_name

        folder = folder.rename(folder.with_name(run_name(earlier.model_name, shape)))
    with opened(tmp_path, *named) as (run, _):
        assert run.is_resumed
        assert run.folder.path == folder
        assert run.options.optimizer.optimizer == "sgd"
        assert not run.chooses_recipe
    with opened(tmp_path, *named, "--recipe=none") if named else opened(tmp_path) as (run, _):
        assert run.is_resumed


def test_run_with_a_recipe_refuses_to_go_on_without(shards: Any, tmp_path: Path) -> None:
    begun(tmp_path, shards, "--run_name=one")
    with (
        pytest.raises(OptionsError, match="recipe: 'auto' then, 'none' now"),
        opened(tmp_path, "--run_name=one", "--recipe=none"),
    ):
        pass


def test_other_processes_follow_the_chiefs_recipe(shards: Any, tmp_path: Path) -> None:
    with opened(tmp_path, "--run_name=one") as (run, read):
        chief = run.with_recipe(recipe_for(shards, "--run_name=one"), read)
    with opened(tmp_path, "--run_name=one", is_chief=False) as (other, _):
        assert not other.chooses_recipe
        assert other.options == chief.options


@pytest.mark.parametrize(("resize", "canvas"), [("letterbox", (288, 224)), ("stretch", (256, 256))])
def test_choose_for_run_measures_boxes_as_images_are_resized(
    shards: Shards, monkeypatch: pytest.MonkeyPatch, resize: str, canvas: tuple[int, int]
) -> None:
    found = read_boxes(shards.train, skip_crowd=True)
    wide = found._replace(image_sizes=np.full_like(found.image_sizes, (48, 64)))
    monkeypatch.setattr(run_recipe, "read_boxes", lambda *_, **__: wide)
    facts: list[DatasetFacts] = []
    monkeypatch.setattr(run_recipe, "choose_recipe", lambda each: facts.append(each) or choose_recipe(each))
    recipe_for(shards, f"--resize={resize}")
    heights, widths = (wide.boxes[:, 2:] - wide.boxes[:, :2]).T
    sides = np.sqrt(heights * widths * canvas[0] / 64 * canvas[1] / (48 if resize == "stretch" else 64 * 7 / 9))
    smallest, _ = box_facts(sides, wide.class_ids)
    assert (facts[0].canvases[0].width, facts[0].canvases[0].height) == canvas
    assert facts[0].canvases[0].smallest_side == pytest.approx(smallest)
