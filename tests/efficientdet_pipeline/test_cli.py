"""Command-line entry point: modes, options and exit codes."""

import inspect
import logging as standard_logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from absl import logging

from efficientdet_pipeline.cli import main
from efficientdet_pipeline.commands import MODES, Mode
from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.options.evaluation import EvalOptions
from efficientdet_pipeline.options.general import ModeOptions
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Reader, Sources
from efficientdet_pipeline.options.training import TrainOptions

Run = Callable[..., None]


@pytest.fixture(autouse=True)
def door(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Restores signals, loggers, environment and working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    handler, root, verbosity = signal.getsignal(signal.SIGTERM), standard_logging.getLogger(), logging.get_verbosity()
    listeners = list(root.handlers)
    yield
    signal.signal(signal.SIGTERM, handler)
    logging.set_verbosity(verbosity)
    for each in [each for each in root.handlers if each not in listeners]:
        root.removeHandler(each)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Returns the options that the mode's command was called with; the command itself does nothing."""
    seen: list[Any] = []
    monkeypatch.setattr(Mode, "runner", lambda self: lambda options, read, hparams: seen.append(options))
    return seen


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Returns a function that makes every command fail with an error."""

    def fail_with(error: BaseException) -> None:
        def run(options: Any, read: Any, hparams: Any) -> None:
            raise error

        monkeypatch.setattr(Mode, "runner", lambda self: run)

    return fail_with


def test_the_options_reach_the_mode_s_command(ran: list[Any]) -> None:
    assert main(["--url_dataset=demo", "--batch_size=4"]) == 0
    assert (type(ran[0]), ran[0].general.mode, ran[0].optimizer.batch_size) == (TrainOptions, "traineval", 4)
    assert main(["--mode=eval", "--hparams=num_classes=3"]) == 0
    assert (type(ran[1]), ran[1].model.num_classes) == (EvalOptions, 3)


def test_hparams_stand_below_every_option(ran: list[Any]) -> None:
    Path("x.config").write_text("--hparams=learning_rate=0.5,num_epochs=2,momentum=0.5\n--momentum=0.7\n")
    os.environ |= {"num_epochs": "3"}
    assert main(["@x.config", "--url_dataset=demo"]) == 0
    optimizer = ran[0].optimizer
    assert (optimizer.learning_rate, optimizer.num_epochs, optimizer.momentum) == (0.5, 3, 0.7)


def test_environment_alone_is_enough(ran: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    os.environ |= {"url_dataset": "http://host/photos.zip", "backbone_ref": "efficientdet-d0", "batch_size": "8"}
    monkeypatch.setattr(sys, "argv", ["main.py"])
    assert main() == 0
    assert (ran[0].data.images.url_dataset, ran[0].pretrained.backbone_ref) == (
        "http://host/photos.zip",
        "efficientdet-d0",
    )


@pytest.mark.parametrize(
    "argv", [["--help"], ["-h"], ["--help", "--num_epoch=3"], ["--mode=bogus", "--help"], ["@no", "--help"]]
)
def test_help_is_given_whatever_else_is_wrong(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    told = capsys.readouterr()
    assert "flags of --mode=traineval" in told.out
    assert told.err == ""


@pytest.mark.parametrize(
    "argv",
    [["--help", "--mode=infer"], ["--mode", "infer", "-h"], ["--mode=infer", "--nix", "--help"], ["@x", "--help"]],
)
def test_help_is_that_of_the_mode_asked_for(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("x").write_text("--mode=infer\n")
    assert main(argv) == 0
    assert "flags of --mode=infer" in capsys.readouterr().out


def test_full_help_shows_every_mode(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--mode=eval", "--helpfull"]) == 0
    told = capsys.readouterr().out
    assert all(mode in told for mode in MODES)
    assert "--input_image" in told


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (DataError("The photos are bad."), 65, "error: The photos are bad.\n"),
        (KeyError("x"), 70, "error: Internal error: KeyError: 'x'."),
        (KeyboardInterrupt(), 130, "error: Stopped by Ctrl-C. What was finished is kept"),
    ],
)
def test_an_error_ends_with_its_code_and_sentence(
    failing: Callable, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, sentence: str
) -> None:
    failing(error)
    assert main(["--url_dataset=demo"]) == code
    told = capsys.readouterr()
    assert told.err.startswith(sentence)
    assert "Traceback" not in told.err + told.out


@pytest.mark.parametrize("asked", ["--traceback", "-traceback", "--traceback=1", "--debug", "@x", "environment"])
def test_a_traceback_is_shown_when_asked_for(failing: Callable, capsys: pytest.CaptureFixture[str], asked: str) -> None:
    Path("x").write_text("--traceback\n")
    failing(DataError("The photos are bad."))
    os.environ |= {"traceback": "true"} if asked == "environment" else {}
    assert main(["--url_dataset=demo", *([asked] if asked != "environment" else [])]) == 65
    told = capsys.readouterr().err
    assert told.startswith("error: The photos are bad.\n")
    assert "Traceback" in told


def test_a_traceback_is_shown_of_options_that_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--traceback", "--nix=3"]) == 2
    assert "Traceback" in capsys.readouterr().err
    assert main(["--notraceback", "--nix=3"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_defect_of_the_reader_itself_is_reported_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(Reader, "read", fail)
    assert main([]) == 70
    assert "Traceback" not in capsys.readouterr().err


def test_options_without_effect_are_reported_unless_the_environment_gives_them(
    ran: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("x.config").write_text("--batch_size=8\n--url_dataset=demo\n--num_epochs=3\n")
    os.environ |= {"samples": "3"}
    assert main(["@x.config", "--mode=dataset", "--optimizer=adam"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert sorted(lines) == [
        "warning: No effect in --mode=dataset: --batch_size, --num_epochs (from x.config).",
        "warning: No effect in --mode=dataset: --optimizer (from the command line).",
    ]


def test_hparams_without_effect_are_reported(ran: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--mode=eval", "--hparams=verbose=0,num_epochs=3"]) == 0
    told = capsys.readouterr().err
    assert "warning: --hparams: verbose has no effect here: the log is always detailed." in told
    assert "num_epochs has no effect here: the mode has no option num_epochs." in told


def test_an_entry_point_for_one_mode_refuses_another(ran: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--path_ckpt=x"], mode="export") == 0
    assert ran[0].general.mode == "export"
    assert main(["--mode=train"], mode="export") == 2
    assert "This script supports only --mode=export. Received --mode=train" in capsys.readouterr().err
    assert main(["--help"], mode="export") == 0
    assert "flags of --mode=export" in capsys.readouterr().out


def test_sigterm_ends_with_its_code_and_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(options: Any, read: Any, hparams: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Mode, "runner", lambda self: run)
    assert main(["--url_dataset=demo"]) == 75
    assert "Stopped by SIGTERM" in capsys.readouterr().err


def test_a_reader_of_the_help_may_leave() -> None:
    script = "import sys; sys.stdin.read(); from efficientdet_pipeline.cli import main; sys.exit(main(['--help']))"
    speaker = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert speaker.stdin
    assert speaker.stdout
    assert speaker.stderr
    speaker.stdout.close()
    speaker.stdin.close()
    assert (speaker.wait(), speaker.stderr.read()) == (0, b"")
    speaker.stderr.close()


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_has_a_command_that_takes_its_options(mode: str) -> None:
    options_class = MODES[mode].options_class()
    assert issubclass(options_class, ModeOptions)
    parameters = inspect.signature(MODES[mode].runner()).parameters
    assert [each.annotation for each in parameters.values()] == [options_class, Sources, HparamsGiven]


def test_main_runs_in_a_thread_and_leaves_the_signal_handlers_alone(ran: list[Any]) -> None:
    codes: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=lambda: codes.append(main(["--url_dataset=demo"])))
    thread.start()
    thread.join()
    assert codes == [0]
    assert len(ran) == 1
    assert main(["--url_dataset=demo"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_overridden_variable_of_the_environment_ends_nothing(
    ran: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    os.environ |= {"debug": "*", "profile": "work", "keep": "yes"}
    assert main(["--url_dataset=demo", "--debug=false", "--noprofile", "--keep=3"]) == 0
    assert main(["--url_dataset=demo", "--debug=false"]) == 2
    told = capsys.readouterr().err
    assert "Received 'work' from the environment variable profile; unset the variable" in told
    assert "Traceback" not in told


def test_overwrite_in_the_environment_has_no_effect_and_this_is_reported(
    ran: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    os.environ |= {"overwrite": "1"}
    assert main(["--url_dataset=demo"]) == 0
    assert not ran[0].data.conversion.overwrite
    assert "environment variable overwrite has no effect: --overwrite is read only from" in capsys.readouterr().err
    assert main(["--url_dataset=demo", "--overwrite"]) == 0
    assert ran[1].data.conversion.overwrite
    assert capsys.readouterr().err == ""


def test_hparams_of_several_places_are_merged_key_by_key(ran: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    Path("x.config").write_text("--hparams=fpn_cell_repeats=2,num_epochs=9,anchor_scale=4\n")
    assert main(["@x.config", "--url_dataset=demo", "--hparams=anchor_scale=2", "--hparams=num_epochs=3"]) == 0
    assert ran[0].optimizer.num_epochs == 3
    assert ran[0].model.hparams == "fpn_cell_repeats=2,num_epochs=9,anchor_scale=4,anchor_scale=2,num_epochs=3"
    told = capsys.readouterr().out
    assert "merged by key from x.config, line 1, then the command line; the last value takes precedence" in told
    assert "(anchor_scale, num_epochs)" in told


def test_the_version_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    for asked in ("--version", "-version", "-V"):
        assert main([asked, "--nix"]) == 0
        told = capsys.readouterr()
        assert (told.out.startswith("efficientdet-pipeline 0."), told.err) == (True, "")


def test_a_traceback_shows_no_secret_and_no_escape(failing: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    failing(DataError("https://me:s3cret@host/a?token=s3cret \x1b[2J"))
    assert main(["--url_dataset=demo", "--traceback"]) == 65
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "s3cret" not in told
    assert "\x1b" not in told


def test_options_not_read_beside_others_are_named(
    ran: list[Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "h.yaml").write_text("fpn_cell_repeats: 2\nimage_size: 64\nlabel_map: {1: a}\n")
    infer = ["--mode=infer", "--input_image=a.png", "--output_image_dir=o", "--saved_model_dir=e"]
    assert main([*infer, "--model_name=efficientdet-d3", "--hparams=h.yaml"]) == 0
    said = capsys.readouterr().err
    assert "--model_name, image_size of --hparams, fpn_cell_repeats of --hparams" in said
    assert "label_map" not in said
    assert main([*infer]) == 0
    assert "No effect" not in capsys.readouterr().err
