"""--batch_size=auto: searched once, fixed for the whole run; the error message when a batch does not fit."""

import json
from pathlib import Path
from typing import Any

import efficientdet
import pytest

from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.errors import ExitCode, OptionsError, OutOfMemoryError
from efficientdet_pipeline.models.build import Network
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs import metadata
from efficientdet_pipeline.runs.run_dir import RunFolder
from efficientdet_pipeline.training import auto_batch, batch_probe
from efficientdet_pipeline.training.distributed import ProcessGroup
from efficientdet_pipeline.training.session import RunSession

CONFIG = efficientdet.get_config(
    "efficientdet-d0", image_size=64, max_level=5, num_classes=2, fpn_cell_repeats=1, fpn_num_filters=8,
    box_class_repeats=1,
    backbone_config={"blocks": ["r1_k3_s11_e1_i32_o8_se0.25", *["r1_k3_s22_e1_i8_o8_se0.25"] * 4]},
)  # fmt: skip
NETWORK = Network(CONFIG, {}, {})
ALONE = ProcessGroup()
FOLLOWER = ProcessGroup(1, 2)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path, tmp_path / "export", tmp_path / "tfrecords", tmp_path)


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[batch_probe.Probe]:
    """Returns the list of searches, each faked to find the maximum."""
    done: list[batch_probe.Probe] = []

    def find(probe: batch_probe.Probe) -> int:
        done.append(probe)
        return probe.max_batch

    monkeypatch.setattr(batch_probe, "largest_batch", find)
    return done


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level("INFO", logger="absl")
    return lambda: caplog.text


def shards(num_train: int = 200) -> Shards:
    return Shards(
        train=(), val=(), num_train=num_train, num_classes=2, label_map={1: "a", 2: "b"}, max_instances=3
    )  # fmt: skip


def options(**given: Any) -> TrainOptions:
    return compose(TrainOptions, **{"url_dataset": "demo", "batch_size": 0, **given})


def resolved_batch_size(
    folder: RunFolder,
    given: TrainOptions,
    *,
    num_train: int = 200,
    is_resumed: bool = False,
    process_group: Any = ALONE,
) -> int:
    run = RunSession(
        folder=folder,
        model_name="efficientdet-d0",
        identity="",
        image_size=64,
        shape={},
        is_resumed=is_resumed,
        is_finished=False,
        options=given,
        hparams=HparamsGiven(),
        chooses_recipe=False,
    )
    return auto_batch.resolve_batch_size(given, run, shards(num_train), NETWORK, process_group).optimizer.batch_size


def test_auto_batch_searches_up_to_the_useful_maximum(folder: Any, logged: Any) -> None:
    # The only real search: a tiny network, in a subprocess.
    assert resolved_batch_size(folder, options(), num_train=60) == 6
    assert "batch_size=auto: 6 images per step fit, the largest with 10 steps per epoch." in logged()


def test_auto_batch_keeps_a_given_batch_size(folder: Any, probes: list[batch_probe.Probe]) -> None:
    assert resolved_batch_size(folder, options(batch_size=5)) == 5
    assert not probes


@pytest.mark.parametrize(
    ("num_train", "examples", "max_batch"), [(200, None, 20), (200, 55, 5), (200, 900, 20), (19, None, 1), (3, None, 1)]
)
def test_auto_batch_leaves_ten_steps_per_epoch(
    num_train: int, examples: int | None, max_batch: int, folder: Any, probes: list[batch_probe.Probe]
) -> None:
    assert resolved_batch_size(folder, options(num_examples_per_epoch=examples), num_train=num_train) == max_batch
    (probe,) = probes
    assert (probe.max_batch, probe.max_instances) == (max_batch, 3)
    assert (probe.task, probe.network) == ("detection", CONFIG.to_hparams())


def test_auto_batch_logs_the_limit_only_where_it_applies(
    folder: Any, monkeypatch: pytest.MonkeyPatch, logged: Any
) -> None:
    monkeypatch.setattr(batch_probe, "largest_batch", lambda probe: 4)
    assert resolved_batch_size(folder, options()) == 4
    assert "4 images per step fit." in logged()


def test_auto_batch_of_a_resumed_run_is_unchanged(folder: Any, probes: list[batch_probe.Probe]) -> None:
    found = resolved_batch_size(folder, options())
    about = metadata.training_metadata(options(batch_size=found), name="efficientdet-d0", num_examples=200, shape={})
    metadata.update_json(folder.metadata, about)
    # Ten times as many images would allow a larger one.
    assert resolved_batch_size(folder, options(), num_train=2000, is_resumed=True) == found
    # The other processes use the result of the chief.
    assert resolved_batch_size(folder, options(), num_train=2000, process_group=FOLLOWER) == found
    assert len(probes) == 1
    # A run without a checkpoint starts again, and so does its search.
    assert resolved_batch_size(folder, options(), num_train=2000) == 200


def test_auto_batch_searches_again_where_the_metadata_is_lost(folder: Any, probes: list[batch_probe.Probe]) -> None:
    assert resolved_batch_size(folder, options(), is_resumed=True) == 20
    assert len(probes) == 1


def test_auto_batch_without_any_fitting_batch_is_an_error(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_probe, "largest_batch", lambda probe: 0)
    sentence = (
        r"batch_size=auto found no batch: out of memory at one image per device.*Reduce --image_size, use --grad_check"
    )
    with pytest.raises(OptionsError, match=sentence) as refused:
        resolved_batch_size(folder, options())
    assert refused.value.option == "batch_size"


def too_large(error: Exception, given: TrainOptions, process_group: Any = ALONE) -> None:
    with auto_batch.oom_handler(given, shards(), NETWORK, process_group):
        raise error


def test_oom_handler_suggests_batch_sizes_and_continues_with_a_search() -> None:
    with pytest.raises(
        OutOfMemoryError, match=r"Received batch_size=9; try --batch_size=4, --batch_size=auto"
    ) as logged:
        too_large(MemoryError(), options(batch_size=9))
    assert logged.value.exit_code == ExitCode.OPTIONS
    switch, module, path = logged.value.continuation
    assert (switch, module) == ("-m", "efficientdet_pipeline.training.batch_probe")
    probe = batch_probe.Probe(**json.loads(Path(path).read_text()))
    Path(path).unlink()
    assert probe.max_batch == 8
    assert compose(TrainOptions, **probe.options) == options(batch_size=9)


@pytest.mark.parametrize(("size", "process_group"), [(1, ALONE), (8, FOLLOWER)])
def test_oom_handler_does_not_search_for_one_image_or_in_a_process_group(
    size: int, process_group: ProcessGroup
) -> None:
    with pytest.raises(OutOfMemoryError) as logged:
        too_large(RuntimeError("RESOURCE_EXHAUSTED"), options(batch_size=size), process_group)
    assert logged.value.continuation == ()


def test_oom_handler_passes_other_errors_through() -> None:
    with pytest.raises(ValueError, match="no such layer"):
        too_large(ValueError("no such layer"), options(batch_size=8))
