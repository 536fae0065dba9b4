"""Console output in plain lines; log.txt has them with timestamps."""

import io
import logging as standard_logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from absl import logging

from efficientdet_pipeline import console


@pytest.fixture(autouse=True)
def listeners() -> Iterator[None]:
    """Removes handlers that a test adds."""
    root = standard_logging.getLogger()
    before, verbosity = list(root.handlers), logging.get_verbosity()
    yield
    logging.set_verbosity(verbosity)
    for handler in [each for each in root.handlers if each not in before]:
        root.removeHandler(handler)
        handler.close()


def say(level: int, text: str, *, page: str = "/x/tfrmod/convert.py", logger: str = "absl") -> None:
    record = standard_logging.LogRecord(logger, level, page, 1, text, None, None)
    standard_logging.getLogger(logger).handle(record)


def test_information_goes_to_stdout_and_trouble_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.set_up_console()
    say(standard_logging.INFO, "epoch 1")
    say(standard_logging.WARNING, "careful")
    say(standard_logging.ERROR, "it broke")
    told = capsys.readouterr()
    assert told.out == "epoch 1\n"
    assert told.err == "warning: careful\nerror: it broke\n"


def test_the_converter_s_own_log_is_heard_too(capsys: pytest.CaptureFixture[str]) -> None:
    console.set_up_console()
    say(standard_logging.WARNING, "from the cache", logger="root")
    assert capsys.readouterr().err == "warning: from the cache\n"


def test_others_are_heard_when_something_broke(capsys: pytest.CaptureFixture[str]) -> None:
    console.set_up_console()
    for level in (standard_logging.INFO, standard_logging.WARNING, standard_logging.ERROR):
        say(level, f"level {level}", page="/x/tensorflow/ops.py", logger="tensorflow")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"error: level {standard_logging.ERROR}\n")


def test_setting_up_twice_says_everything_once(capsys: pytest.CaptureFixture[str]) -> None:
    console.set_up_console()
    console.set_up_console()
    say(standard_logging.INFO, "once")
    assert capsys.readouterr().out == "once\n"


def test_a_console_without_a_letter_for_it_shows_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    console.set_up_console()
    say(standard_logging.INFO, "class 猫 …")
    assert narrow.buffer.getvalue() == b"class \\u732b \\u2026\n"


def test_closed_streams_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    console.set_up_console()
    say(standard_logging.INFO, "into the void")
    assert sys.stdout.name == sys.stderr.name == os.devnull
    sys.stdout.close()
    sys.stderr.close()


def test_a_reader_that_has_gone_ends_nothing() -> None:
    script = (
        "import sys; from efficientdet_pipeline import console; from absl import logging\n"
        "console.set_up_console(); sys.stdin.read()\n"
        "for number in range(3): logging.get_absl_logger().info('line')\n"
        "console.silence(sys.stderr); sys.exit(7)\n"
    )
    speaker = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert speaker.stdin
    assert speaker.stdout
    assert speaker.stderr
    speaker.stdout.close()
    speaker.stdin.close()
    assert speaker.wait() == 7
    assert speaker.stderr.read() == b""
    speaker.stderr.close()


def test_the_log_file_is_dated_and_continued(tmp_path: Path) -> None:
    console.set_up_console()
    for text in ("first 猫", "second"):
        console.log_to_file(tmp_path / "new" / "log.txt")
        say(standard_logging.WARNING, text)
    lines = (tmp_path / "new" / "log.txt").read_text(encoding="utf-8").splitlines()
    assert [line.partition(" W ")[2] for line in lines] == ["first 猫", "second"]
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d W ", line) for line in lines)


def test_another_run_s_log_is_left_alone(tmp_path: Path) -> None:
    console.log_to_file(tmp_path / "a.txt")
    console.log_to_file(tmp_path / "b.txt")
    say(standard_logging.ERROR, "x")
    assert (tmp_path / "a.txt").read_text() == ""


def test_a_log_whose_folder_is_deleted_is_silent(tmp_path: Path) -> None:
    console.log_to_file(tmp_path / "run" / "log.txt")
    (handler,) = [each for each in standard_logging.getLogger().handlers if type(each).__name__ == "_LogFile"]
    shutil.rmtree(tmp_path / "run")
    handler.close()
    say(standard_logging.ERROR, "x")
    assert not (tmp_path / "run").exists()


def test_a_log_on_a_full_disk_is_silent(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "log.txt").symlink_to("/dev/full")
    script = (
        "import sys; from pathlib import Path; from efficientdet_pipeline import console\n"
        "import logging; console.set_up_console(); console.log_to_file(Path(sys.argv[1])); logging.error('it broke')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "log.txt")], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "error: it broke\n")


@pytest.mark.parametrize("unless", [False, True])
def test_native_greetings_are_kept_off_unless_wanted(capfd: pytest.CaptureFixture[str], unless: bool) -> None:
    with console.silent_native_log(unless=unless):
        os.write(2, b"oneDNN is on\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == ("oneDNN is on\n" if unless else "") + "after\n"


def test_native_lines_dropped_keeps_the_other_lines_also_of_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with console.native_lines_dropped("note: "):
            os.write(2, b"note: 1\nerror: it fails\nnote: 2\nlast")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    os.write(2, b" after\n")
    assert capfd.readouterr().err == "error: it fails\nlast after\n"


@pytest.mark.parametrize(
    ("terminal", "term", "expected"), [(True, "xterm", True), (True, "dumb", False), (False, "xterm", False)]
)
def test_a_moving_bar_needs_a_terminal(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, term: str, expected: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", type("Stream", (), {"isatty": lambda self: terminal})())
    monkeypatch.setenv("TERM", term)
    assert console.is_terminal() is expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("class \x1b]0;PWNED\x07\x1b[2J", r"class \x1b]0;PWNED\x07\x1b[2J"),
        ("c1 \x9b31m, bell \x07, back\rwards", r"c1 \x9b31m, bell \x07, back\rwards"),
        ("bidi \u202egnp.exe, \u2066x", r"bidi \u202egnp.exe, \u2066x"),
        ("line\u2028separator", r"line\u2028separator"),
        ("猫 ü é 🚗 … ×", "猫 ü é 🚗 … ×"),
        ("1\u202f000\u00a0a", "1 000 a"),
        ("table\n  a\tb", "table\n  a\tb"),
        ("from https://me:s3cret@host/a.zip?token=s3cret.", "from https://***@host/a.zip?token=***"),
    ],
)
def test_console_and_log_show_no_control_characters_and_no_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, shown: str
) -> None:
    console.set_up_console()
    console.log_to_file(tmp_path / "log.txt")
    say(standard_logging.INFO, text)
    say(standard_logging.ERROR, text)
    console.say(text)
    told = capsys.readouterr()
    assert told.out == f"{shown}\n{shown}\n"
    assert told.err == f"error: {shown}\n"
    log = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert log.count(shown) == 2
    assert console.shown(shown) == shown


def test_shown_replaces_lone_surrogates() -> None:
    # Not logged: pytest-xdist cannot send a captured log with a surrogate from a worker.
    assert console.shown("surrogate \ud800") == r"surrogate \ud800"


NASTY = ["a b", "[c] d", "it's", '"quoted"', "$HOME", "~", "*", "ü 猫", "a;b", "#x", "\\"]
REPOSITORY = Path(console.__file__).resolve().parents[1]


@pytest.mark.parametrize("folder", ["", "repository", "above"])
@pytest.mark.parametrize("script", ["main.py", "freeze_model.py", "tfrmod/create_tfrecords.py", "-c", "", "pytest"])
def test_a_suggested_command_runs_as_it_stands_in_any_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str, script: str
) -> None:
    monkeypatch.chdir({"": tmp_path, "repository": REPOSITORY, "above": REPOSITORY.parent}[folder])
    monkeypatch.setattr(sys, "argv", [str(REPOSITORY / script) if script.endswith(".py") else script])
    program, main, *arguments = shlex.split(console.command_line("--mode=infer", *NASTY))
    assert arguments == ["--mode=infer", *NASTY]
    assert Path(main).samefile(REPOSITORY / "main.py")
    assert Path(main).is_absolute() is (folder == "")
    assert program == "python3" or Path(program).samefile(sys.executable)


def test_a_suggested_command_names_the_console_script_that_was_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "my env" / "bin" / "efficientdet-pipeline"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setenv("PATH", "")
    assert console.command_line("--mode=infer") == "'my env/bin/efficientdet-pipeline' --mode=infer"
    monkeypatch.setenv("PATH", str(script.parent))
    assert console.command_line("--mode=infer") == "efficientdet-pipeline --mode=infer"


def test_a_suggested_command_without_a_checkout_runs_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/elsewhere/notebook.py"])
    monkeypatch.setattr(console, "__file__", "/elsewhere/site-packages/efficientdet_pipeline/console.py")
    assert shlex.split(console.command_line("--mode=infer"))[1:] == ["-m", "efficientdet_pipeline", "--mode=infer"]


def test_the_suggested_command_really_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(REPOSITORY / "freeze_model.py")])
    command = console.command_line("--version")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()[0]) == (0, "efficientdet-pipeline")
    module = [sys.executable, "-m", "efficientdet_pipeline", "--version"]
    assert subprocess.run(module, capture_output=True, text=True, check=False).stdout == done.stdout


def test_json_lines_hold_messages_and_events(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    with console.console_logging():
        console.use_json(True)
        try:
            logging.warning("%d images, \x1b[2J", 3)
            console.say("said")
            console.print_event("epoch", {"epoch": 1, "loss": float("nan")})
        finally:
            console.use_json(False)
        console.print_event("epoch", {"epoch": 2})
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert [line.pop("level") for line in lines] == ["warning", "info", "info"]
    assert all(line.pop("time") for line in lines)
    assert lines == [
        {"message": "3 images, \\x1b[2J"},
        {"message": "said"},
        {"event": "epoch", "epoch": 1, "loss": None},
    ]
    assert printed.err == ""
