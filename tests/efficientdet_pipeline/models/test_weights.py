"""Trained weights are found, and loaded completely or not at all."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Main = Callable[..., int]
Said = Callable[[], Any]


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ("--num_classes=5", "num_classes must be that of the trained network, 4"),
        ("--num_classes=3", "num_classes"),
        ("--hparams=num_classes=5", "the background is not a class here"),
        ("--hparams=num_scales=2", "num_scales"),
        ("--hparams=aspect_ratios=1.0*2.0", "aspect_ratios"),
        ("--hparams=anchor_scale=4", "anchor_scale"),
        ("--hparams=act_type=swish", "act_type"),
        ("--hparams=fpn_cell_repeats=2", "fpn_cell_repeats"),
        ("--model_name=efficientdet-lite1", "model_name"),
    ],
)
@pytest.mark.parametrize("mode", ["eval", "export", "infer"])
def test_another_network_than_the_trained_one_is_refused(
    main: Main, toy_run: Path, said: Said, mode: str, option: str, word: str
) -> None:
    (Path.cwd() / "a.png").write_bytes(b"")
    more = {"infer": ["--input_image=a.png", "--output_image_dir=o"], "export": ["--path_output=o"]}.get(mode, [])
    assert main(f"--mode={mode}", f"--model_dir={toy_run}", option, *more) == 2
    error = said().err
    assert word in error
    assert "leave it out" in error
    assert not list(Path.cwd().glob("o/*"))


def test_weights_that_do_not_fit_their_description_are_refused(main: Main, copied_run: Path, said: Said) -> None:
    page = copied_run / "checkpoints" / "best" / "hparams_config.yaml"
    page.write_text(page.read_text().replace("num_classes: 4", "num_classes: 5"))
    assert main("--mode=export", f"--model_dir={copied_run}") == 65
    assert "must have every variable" in said().err
    assert not (copied_run / "export" / "saved_model").exists()


@pytest.mark.parametrize("within", ["", "checkpoints/best", "checkpoints/best/model.weights.h5"])
def test_path_ckpt_finds_the_shards_and_classes_of_its_run(
    main: Main, copied_run: Path, said: Said, within: str
) -> None:
    assert main("--mode=eval", f"--path_ckpt={copied_run / within}") == 0
    out = said().out
    assert "triangle" in out
    place = copied_run if not within else copied_run / "checkpoints" / "best"
    assert json.loads((place / "metrics_eval.json").read_text())["per_class"].keys() == {
        "circle",
        "square",
        "star",
        "triangle",
    }


def test_eval_names_what_it_looked_at_where_there_are_no_shards(main: Main, copied_run: Path, said: Said) -> None:
    shutil.rmtree(copied_run / "tfrecords")
    assert main("--mode=eval", f"--path_ckpt={copied_run}") == 2
    assert f"the run {copied_run} has no validation shards" in said().err
    alone = shutil.copytree(copied_run / "checkpoints" / "best", copied_run.parent.parent / "alone")
    assert main("--mode=eval", f"--path_ckpt={alone}") == 2
    assert "is not in the folder of a run" in said().err


def closed(*arguments: object, **more: object) -> None:
    """Writes as if the folder were not writable."""
    raise PermissionError(errno.EACCES, "Permission denied")


def test_eval_prints_what_it_cannot_write(
    main: Main, toy_run: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    from efficientdet_pipeline.report import evaluation_report

    monkeypatch.setattr(evaluation_report, "write_metrics", closed)
    assert main("--mode=eval", f"--model_dir={toy_run}") == 0
    printed = said()
    assert "ARmax100" in printed.out
    assert "are printed above but not saved" in printed.err
    assert "--path_ckpt" in printed.err


def test_export_that_cannot_be_written_names_the_option(
    main: Main, toy_run: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    from efficientdet_pipeline.commands import export

    monkeypatch.setattr(export, "write_bundle", closed)
    assert main("--mode=export", f"--model_dir={toy_run}") == 73
    assert "--path_output" in said().err


def test_the_latest_run_is_the_latest_with_a_checkpoint(main: Main, copied_run: Path, said: Said) -> None:
    later = copied_run.parent / "later"
    later.mkdir()
    (later / "args.yaml").write_text("mode: dataset\n")
    assert main("--mode=eval", "--eval_samples=1") == 0
    assert "Written to runs/toy/metrics_eval.json" in said().out
    assert main("--mode=eval", "--run_name=later") == 66
    assert "has no trained weights yet" in said().err
    shutil.rmtree(copied_run)
    assert main("--mode=eval") == 66
    assert "has a checkpoint yet" in said().err
