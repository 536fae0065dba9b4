"""Study: trials that are drawn, trained, pruned and recorded; a killed study continues where it was."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from absl import logging

from efficientdet_pipeline.errors import DataError, ExitCode, OptionsError, StoppedError
from efficientdet_pipeline.inference.extras import import_extra
from efficientdet_pipeline.options.parser import Given
from efficientdet_pipeline.options.schema import declarations
from efficientdet_pipeline.options.tune import OF_THE_STUDY, StudyOptions
from efficientdet_pipeline.runs.run_dir import locked
from efficientdet_pipeline.tuning.search_space import Parameter, Searched
from efficientdet_pipeline.tuning.trial_process import Outcome, run_trial, training_command, wait_for_end
from tfrmod import fileio

if TYPE_CHECKING:
    import optuna

DATABASE = "study.db"
SETTINGS = "settings.json"
_NAME = "study"
_FAILURES = 3
"""Trials that may fail one after the other, without one that succeeded, before the study ends."""
_NOT_OF_A_TRIAL = {*OF_THE_STUDY, *declarations(StudyOptions), "mode", "publish_dir"}
RunTrial = Callable[[Sequence[str], Path, Path, Callable[[int, float], bool]], Outcome]


@dataclass(frozen=True)
class TrialRecord:
    """A trial that has ended."""

    number: int
    state: str
    value: float | None
    values: Mapping[str, Searched]
    """By name of the parameter."""
    epochs: int
    """Of its last evaluation; 0 where there was none."""


@dataclass(frozen=True)
class StudyResult:
    """All trials of a study."""

    folder: Path
    parameters: tuple[Parameter, ...]
    trials: tuple[TrialRecord, ...]
    common: tuple[str, ...]
    """Arguments of every trial."""

    @property
    def best(self) -> TrialRecord:
        """Returns the trial of the highest value.

        Raises:
          DataError: no trial was completed.
        """
        done = [trial for trial in self.trials if trial.state == "complete" and trial.value is not None]
        if not done:
            raise DataError(f"No trial of {self.folder} was completed; the files in its folder trials say why.")
        return max(done, key=lambda trial: (trial.value or 0.0, -trial.number))

    def arguments(self, trial: TrialRecord) -> list[str]:
        """Returns the arguments that train with the values of a trial."""
        return [*self.common, *(each.argument(trial.values[each.name]) for each in self.parameters)]


def common_arguments(given: Mapping[str, Given], parameters: Sequence[Parameter]) -> tuple[str, ...]:
    """Returns the arguments of every trial: the options that were given, without those of the study.

    Raises:
      OptionsError: an option is given and searched as well.
    """
    searched = {each.name for each in parameters}
    for name in searched & given.keys():
        raise OptionsError(
            f"{name} must be given or searched. Received {given[name].value!r} from {given[name].source}, and a range "
            "in the search space; leave one of them out.",
            option=name,
        )
    found = []
    for name, each in given.items():
        if name not in _NOT_OF_A_TRIAL and each.value is not None:
            text = str(each.value).lower() if isinstance(each.value, bool) else str(each.value)
            found.append(f"--{name}={text}")
    return tuple(found)


def run_study(
    options: StudyOptions,
    parameters: tuple[Parameter, ...],
    common: tuple[str, ...],
    *,
    seed: int,
    run: RunTrial | None = None,
    on_trial: Callable[[StudyResult], None] = lambda result: None,
) -> StudyResult:
    """Runs the trials that a study still lacks, and returns all of them.

    Args:
      options: of the study.
      parameters: to search.
      common: arguments of every trial.
      seed: of the values that are drawn.
      run: trains; None for a process of each trial.
      on_trial: called after each trial.

    Raises:
      MissingExtraError: Optuna is not installed.
      OptionsError: the folder's study is another one, or each trial fails.
      StoppedError: a trial was stopped by a signal; the same command continues.
    """
    folder = Path(options.study_dir).expanduser()
    optuna = import_extra("optuna", purpose="--mode=tune")
    with locked(folder):
        _check_same(folder, options, parameters, common)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.RDBStorage(f"sqlite:///{(folder / DATABASE).absolute()}")
        study: optuna.Study = optuna.create_study(
            study_name=_NAME, storage=storage, direction="maximize", load_if_exists=True
        )
        try:
            _Trials(study, options, parameters, common, folder, run or _run_process).run(seed, on_trial)
            return _result(study, folder, parameters, common)
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _run_process(
    arguments: Sequence[str], folder: Path, output: Path, is_pruned: Callable[[int, float], bool]
) -> Outcome:
    return run_trial(training_command(arguments), folder, output, is_pruned=is_pruned)


class _Trials:
    def __init__(
        self,
        study: "optuna.Study",
        options: StudyOptions,
        parameters: tuple[Parameter, ...],
        common: tuple[str, ...],
        folder: Path,
        run_one: RunTrial,
    ):
        self.study, self.options, self.parameters, self.common = study, options, parameters, common
        self.folder, self.run_one = folder, run_one

    def run(self, seed: int, on_trial: Callable[[StudyResult], None]) -> None:
        import optuna

        (self.folder / "trials").mkdir(exist_ok=True)
        self.study.pruner = (
            optuna.pruners.MedianPruner(self.options.startup_trials, self.options.prune_after)
            if self.options.pruner == "median"
            else optuna.pruners.NopPruner()
        )
        # A trial that was running when the study was killed: no other process holds the folder.
        begun = [each for each in self.study.trials if each.state == optuna.trial.TrialState.RUNNING]
        for frozen in begun:
            logging.info("Trial %d continues.", frozen.number)
            wait_for_end(self._folder_of(frozen.number))
            self._one(optuna.trial.Trial(self.study, frozen._trial_id), dict(frozen.intermediate_values), on_trial)
        while (count := len(self.study.trials)) < self.options.num_trials:
            # Another seed for each trial, and the same one for the same trial, in a study that was killed as well.
            if self.options.sampler == "tpe":
                self.study.sampler = optuna.samplers.TPESampler(
                    n_startup_trials=self.options.startup_trials, seed=(seed + count) % 2**32
                )
            else:
                self.study.sampler = optuna.samplers.RandomSampler(seed=(seed + count) % 2**32)
            self._one(self.study.ask(), {}, on_trial)

    def _one(
        self, trial: "optuna.Trial", reported: Mapping[int, float], on_trial: Callable[[StudyResult], None]
    ) -> None:
        import optuna

        values = {each.name: each.suggest(trial) for each in self.parameters}
        shown = ", ".join(f"{name}={_short(value)}" for name, value in values.items())
        logging.info("Trial %d of %d: %s", trial.number, self.options.num_trials, shown)
        run = self._folder_of(trial.number)
        best = list(reported.values())

        def is_pruned(epoch: int, value: float) -> bool:
            best.append(value)
            if epoch not in reported:
                trial.report(max(best), step=epoch)
            return trial.should_prune()

        arguments = [
            "--mode=traineval",
            *self.common,
            *(each.argument(values[each.name]) for each in self.parameters),
            f"--model_dir={run}",
            f"--output_path={self.folder / 'tfrecords'}",
            "--formats=none",
            "--noanalysis",
            "--nodoctor",
        ]
        if any(each.startswith("--train_file_pattern=") for each in self.common):
            arguments = [each for each in arguments if not each.startswith("--output_path=")]
        outcome = self.run_one(arguments, run, run.with_suffix(".txt"), is_pruned)
        if outcome.state == "stopped":
            raise StoppedError(
                f"Trial {trial.number} was stopped: {outcome.message} The same command continues the study.",
                exit_code=ExitCode(outcome.exit_code),
            )
        states = optuna.trial.TrialState
        state = {"complete": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[outcome.state]
        self.study.tell(trial, outcome.value if state == states.COMPLETE else None, state=state)
        self._say(trial.number, outcome)
        on_trial(_result(self.study, self.folder, self.parameters, self.common))
        self._check_failures(outcome)

    def _folder_of(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04d}"

    def _say(self, number: int, outcome: Outcome) -> None:
        if outcome.state == "failed":
            logging.warning("Trial %d failed: %s", number, outcome.message)
        else:
            value = "none" if outcome.value is None else f"{outcome.value:.4f}"
            logging.info("Trial %d %s: %s", number, "pruned" if outcome.state == "pruned" else "done", value)

    def _check_failures(self, outcome: Outcome) -> None:
        """Raises the error of a trial that every other trial would end with too."""
        if outcome.state != "failed":
            return
        states = [each.state.name for each in self.study.trials]
        fits_all = outcome.exit_code in {ExitCode.MISSING, ExitCode.NOT_INSTALLED, ExitCode.CANNOT_WRITE}
        if fits_all or (len(states) >= _FAILURES and set(states) == {"FAIL"}):
            raise OptionsError(
                f"The study in {self.folder} ends, because its trials fail. The last one said: {outcome.message} "
                f"{self.folder / 'trials'} has all that they printed. After a correction give another --study_dir."
            )


def _check_same(folder: Path, options: StudyOptions, parameters: Sequence[Parameter], common: Sequence[str]) -> None:
    """Raises OptionsError if the folder has another study; a new one is recorded."""
    path = folder / SETTINGS
    space = {each.name: {**vars(each), "choices": list(each.choices)} for each in parameters}
    wanted = {"space": space, "options": sorted(common), "pruner": options.pruner, "sampler": options.sampler}
    wanted = json.loads(json.dumps(wanted))
    if not path.is_file():
        fileio.write_file(path, json.dumps(wanted, indent=1) + "\n")
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    names = [name for name in wanted if found.get(name) != wanted[name]]
    if names:
        raise OptionsError(
            f"The study in {folder} was begun with another {' and '.join(names)} ({path} has it). Continue it with its "
            "own, or give another --study_dir; --num_trials may grow.",
            option="study_dir",
        )


def _result(
    study: "optuna.Study", folder: Path, parameters: tuple[Parameter, ...], common: tuple[str, ...]
) -> StudyResult:
    ended = [each for each in study.trials if each.state.is_finished()]
    names = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    trials = tuple(
        TrialRecord(
            number=each.number,
            state=names[each.state.name],
            value=each.value if each.value is not None else max(each.intermediate_values.values(), default=None),
            values=dict(each.params),
            epochs=max(each.intermediate_values, default=0),
        )
        for each in ended
    )
    return StudyResult(folder, parameters, trials, common)


def _short(value: Searched) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
