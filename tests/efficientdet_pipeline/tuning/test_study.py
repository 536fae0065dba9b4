"""Studies: trials are sampled, pruned, recorded, resumed after an interruption, and stopped if all fail."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from efficientdet_pipeline.errors import DataError, OptionsError, StoppedError
from efficientdet_pipeline.options.parser import Given
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.tune import StudyOptions
from efficientdet_pipeline.tuning.search_space import Parameter
from efficientdet_pipeline.tuning.study import StudyResult, common_arguments, run_study
from efficientdet_pipeline.tuning.study_report import format_table, write_report
from efficientdet_pipeline.tuning.trial_process import Outcome

pytest.importorskip("optuna", reason="optuna is not installed: pip install 'efficientdet-pipeline[tune]'")
PARAMETERS = (
    Parameter(name="learning_rate", low=0.001, high=1.0, log=True),
    Parameter(name="optimizer", choices=("sgd", "adam")),
)


class Training:
    """Trains in no time: the AP of epoch e is rate * e / 4; may be killed in, or fail."""

    def __init__(self) -> None:
        self.arguments: list[list[str]] = []
        self.kill_at = self.stop_at = -1
        self.failure: Outcome | None = None

    def __call__(
        self, arguments: Sequence[str], folder: Path, output: Path, is_pruned: Callable[[int, float], bool]
    ) -> Outcome:
        self.arguments.append(list(arguments))
        if self.failure is not None:
            return self.failure
        rate = float(next(each for each in arguments if each.startswith("--learning_rate=")).partition("=")[2])
        for epoch in range(1, 5):
            if is_pruned(epoch, rate * epoch / 4):
                return Outcome("pruned", rate * epoch / 4, 75)
            if len(self.arguments) == self.kill_at and epoch == 2:
                raise KeyboardInterrupt
        if len(self.arguments) == self.stop_at:
            return Outcome("stopped", rate, 75, "Stopped by SIGTERM.")
        return Outcome("complete", rate, 0)


@pytest.fixture
def training() -> Training:
    return Training()


@pytest.fixture
def study(tmp_path: Path, training: Training) -> Callable[..., StudyResult]:
    def run(num_trials: int = 8, parameters: Any = PARAMETERS, **options: Any) -> StudyResult:
        chosen = compose(
            StudyOptions, space="s", study_dir=str(tmp_path / "st"), num_trials=num_trials, startup_trials=2, **options
        )
        return run_study(chosen, parameters, ("--url_dataset=a.zip",), seed=1, run=training, on_trial=write_report)

    return run


def test_run_study_prunes_and_reports(study: Callable[..., StudyResult], training: Training, tmp_path: Path) -> None:
    result = study()
    states = [trial.state for trial in result.trials]
    assert (len(states), states[:2]) == (8, ["complete", "complete"])
    assert {"pruned", "complete"} == set(states)
    best = result.best
    assert best.value == max(trial.value for trial in result.trials if trial.state == "complete")
    assert best.value == best.values["learning_rate"]
    first = training.arguments[0]
    assert first[:2] == ["--mode=traineval", "--url_dataset=a.zip"]
    assert f"--model_dir={tmp_path}/st/trials/0000" in first
    assert f"--output_path={tmp_path}/st/tfrecords" in first
    table = format_table(result).splitlines()
    assert table[0].split() == ["trial", "state", "best", "epochs", "learning_rate", "optimizer"]
    assert table[1].split()[:2] == [str(best.number), "complete"]
    assert table[-1].endswith("0 failed")
    lines = (tmp_path / "st" / "best.config").read_text().splitlines()
    assert lines[1] == "--url_dataset=a.zip"
    assert lines[2:] == [f"--learning_rate={best.values['learning_rate']}", f"--optimizer={best.values['optimizer']}"]
    assert len((tmp_path / "st" / "trials.csv").read_text().splitlines()) == 9
    with Image.open(tmp_path / "st" / "study.png") as picture:
        assert picture.width > 1000


def test_run_study_continues_after_a_kill_as_if_there_was_none(
    study: Callable[..., StudyResult], training: Training, tmp_path: Path
) -> None:
    training.kill_at = 4
    with pytest.raises(KeyboardInterrupt):
        study()
    training.stop_at = 7
    with pytest.raises(StoppedError, match="Trial 5 was stopped: Stopped by SIGTERM") as caught:
        study()
    assert int(caught.value.exit_code) == 75
    result = study()
    assert training.arguments[3] == training.arguments[4]
    assert training.arguments[6] == training.arguments[7]
    whole, training.kill_at = Training(), -1
    other = compose(StudyOptions, space="s", study_dir=str(tmp_path / "b"), num_trials=8, startup_trials=2)
    expected = run_study(other, PARAMETERS, ("--url_dataset=a.zip",), seed=1, run=whole)
    assert result.trials == expected.trials
    assert len(study(num_trials=9).trials) == 9


def test_run_study_refuses_another_study(study: Callable[..., StudyResult]) -> None:
    study(num_trials=1)
    with pytest.raises(OptionsError, match="was begun with another space and pruner"):
        study(num_trials=1, parameters=PARAMETERS[:1], pruner="none")


def test_run_study_ends_where_every_trial_fails(study: Callable[..., StudyResult], training: Training) -> None:
    training.failure = Outcome("failed", None, 2, "batch_size must not be larger.")
    with pytest.raises(OptionsError, match=r"its trials fail\. The last one said: batch_size must not be larger\."):
        study()
    assert len(training.arguments) == 3
    training.failure = Outcome("failed", None, 66, "There is no a.zip.")
    with pytest.raises(OptionsError, match=r"There is no a\.zip"):
        study()
    assert len(training.arguments) == 4


def test_study_result_without_a_complete_trial(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No trial of .* was completed"):
        _ = StudyResult(tmp_path, PARAMETERS, (), ()).best


def test_common_arguments_leave_the_study_out() -> None:
    given = {
        "mode": Given("tune", "x"),
        "space": Given("s", "x"),
        "model_dir": Given("m", "x"),
        "url_dataset": Given("a b.zip", "x"),
        "augment": Given(False, "x"),
    }
    assert common_arguments(given, PARAMETERS) == ("--url_dataset=a b.zip", "--augment=false")
    with pytest.raises(OptionsError, match=r"optimizer must be given or searched\. Received 'sgd' from here"):
        common_arguments({"optimizer": Given("sgd", "here")}, PARAMETERS)
