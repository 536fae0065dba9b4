"""--batch_size=auto: found once, kept for the whole run; and the sentence when a batch does not fit."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import efficientdet
import pytest

from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.errors import ExitCode, OptionsError, OutOfMemoryError
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs import metadata
from efficientdet_pipeline.training import auto_batch, batch_probe
from efficientdet_pipeline.training.distributed import ProcessGroup

CONFIG = efficientdet.get_config(
    "efficientdet-d0", image_size=64, max_level=5, num_classes=2, fpn_cell_repeats=1, fpn_num_filters=8,
    box_class_repeats=1,
    backbone_config={"blocks": ["r1_k3_s11_e1_i32_o8_se0.25", *["r1_k3_s22_e1_i8_o8_se0.25"] * 4]},
)  # fmt: skip
ALONE = ProcessGroup()
FOLLOWER = ProcessGroup(1, 2)


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    return SimpleNamespace(metadata=tmp_path / "metadata.json")


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[batch_probe.Probe]:
    """Returns the list of searches, which cost nothing and find the most that is asked for."""
    done: list[batch_probe.Probe] = []

    def find(probe: batch_probe.Probe) -> int:
        done.append(probe)
        return probe.most

    monkeypatch.setattr(batch_probe, "largest_batch", find)
    return done


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level("INFO", logger="absl")
    return lambda: caplog.text


def shards(num_train: int = 200) -> Shards:
    return Shards(
        train=(), val=(), num_train=num_train, num_classes=2, label_map={1: "a", 2: "b"}, max_instances=3
    )  # fmt: skip


def options(**given: Any) -> TrainOptions:
    return TrainOptions(**{"url_dataset": "demo", "batch_size": 0, **given})


def settled(
    folder: Any, given: TrainOptions, *, num_train: int = 200, begun: bool = False, company: Any = ALONE
) -> int:
    run = SimpleNamespace(folder=folder, begun=begun)
    return auto_batch.resolve_batch_size(given, run, shards(num_train), CONFIG, company).batch_size


def test_steps_are_taken_until_the_most_that_are_of_use_fit(folder: Any, told: Any) -> None:
    # The one search that is no play: a tiny network, in a process of its own.
    assert settled(folder, options(), num_train=60) == 6
    assert "batch_size=auto: 6 photos a step fit, the most that leave 10 steps an epoch." in told()


def test_a_batch_that_is_given_is_not_looked_for(folder: Any, probes: list[batch_probe.Probe]) -> None:
    assert settled(folder, options(batch_size=5)) == 5
    assert not probes


@pytest.mark.parametrize(
    ("num_train", "examples", "most"), [(200, None, 20), (200, 55, 5), (200, 900, 20), (19, None, 1), (3, None, 1)]
)
def test_an_epoch_keeps_ten_steps(
    num_train: int, examples: int | None, most: int, folder: Any, probes: list[batch_probe.Probe]
) -> None:
    assert settled(folder, options(num_examples_per_epoch=examples), num_train=num_train) == most
    (probe,) = probes
    assert (probe.most, probe.max_instances) == (most, 3)
    assert probe.hparams == CONFIG.to_hparams()


def test_only_a_batch_that_the_epoch_limits_is_told_to_be_limited(
    folder: Any, monkeypatch: pytest.MonkeyPatch, told: Any
) -> None:
    monkeypatch.setattr(batch_probe, "largest_batch", lambda probe: 4)
    assert settled(folder, options()) == 4
    assert "4 photos a step fit." in told()


def test_a_continued_run_keeps_its_batch(folder: Any, probes: list[batch_probe.Probe]) -> None:
    found = settled(folder, options())
    about = metadata.training_metadata(options(batch_size=found), name="efficientdet-d0", num_examples=200, shape={})
    metadata.update_json(folder.metadata, about)
    # Ten times as many photos would allow for a larger one.
    assert settled(folder, options(), num_train=2000, begun=True) == found
    # The other processes of a training take what the leading one found.
    assert settled(folder, options(), num_train=2000, company=FOLLOWER) == found
    assert len(probes) == 1
    # A run without a checkpoint begins anew, and so does its search.
    assert settled(folder, options(), num_train=2000) == 200


def test_a_run_that_does_not_know_its_batch_any_more_looks_for_it(folder: Any, probes: list[batch_probe.Probe]) -> None:
    assert settled(folder, options(), begun=True) == 20
    assert len(probes) == 1


def test_no_batch_at_all_is_told(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_probe, "largest_batch", lambda probe: 0)
    sentence = r"batch_size=auto found no batch: not one photo a device fits.*try a smaller --image_size, --grad_check"
    with pytest.raises(OptionsError, match=sentence) as refused:
        settled(folder, options())
    assert refused.value.option == "batch_size"


def too_large(error: Exception, given: TrainOptions, company: Any = ALONE) -> None:
    with auto_batch.oom_handler(given, shards(), CONFIG, company):
        raise error


def test_a_batch_that_does_not_fit_is_told_and_looked_into_once_the_memory_is_free() -> None:
    with pytest.raises(OutOfMemoryError, match=r"Received batch_size=9; try --batch_size=4, --batch_size=auto") as told:
        too_large(MemoryError(), options(batch_size=9))
    assert told.value.exit_code == ExitCode.OPTIONS
    switch, module, path = told.value.continuation
    assert (switch, module) == ("-m", "efficientdet_pipeline.training.batch_probe")
    probe = batch_probe.Probe(**json.loads(Path(path).read_text()))
    Path(path).unlink()
    assert probe.most == 8
    assert TrainOptions(**probe.options) == options(batch_size=9)


@pytest.mark.parametrize(("size", "company"), [(1, ALONE), (8, FOLLOWER)])
def test_nothing_is_looked_for_below_one_photo_or_by_one_of_many(size: int, company: ProcessGroup) -> None:
    with pytest.raises(OutOfMemoryError) as told:
        too_large(RuntimeError("RESOURCE_EXHAUSTED"), options(batch_size=size), company)
    assert told.value.continuation == ()


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(ValueError, match="no such layer"):
        too_large(ValueError("no such layer"), options(batch_size=8))
