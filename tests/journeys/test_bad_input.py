"""Bad input from the outside: `python main.py …` ends with a clear sentence, the right code, and nothing lost.

Mode dataset asks the same questions as training and loads no TensorFlow, so it
answers for both wherever it can.
"""

import functools
import hashlib
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

MAIN = Path(__file__).parents[2] / "main.py"
HEIGHT, WIDTH = 48, 64
BOX = (5, 5, 30, 30)


def photo(seed: int = 0) -> bytes:
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return cv2.imencode(".jpg", cv2.resize(blocks, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST))[1].tobytes()


def annotation(stem: str, box: tuple[int, int, int, int] = BOX) -> str:
    sides = "".join(f"<{key}>{side}</{key}>" for key, side in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return (
        f"<annotation><filename>{stem}.jpg</filename><size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
        f"<object><name>cat</name><bndbox>{sides}</bndbox></object></annotation>"
    )


def good_members(count: int = 5) -> dict[str, bytes | str]:
    members: dict[str, bytes | str] = {}
    for number in range(count):
        members[f"JPEGImages/good{number}.jpg"] = photo(number)
        members[f"Annotations/good{number}.xml"] = annotation(f"good{number}")
    return members


# What is wrong: members beside five good photos, and what is said of them.
FAULTS: dict[str, tuple[dict[str, bytes | str], str]] = {
    "annotation without image": ({"Annotations/lonely.xml": annotation("lonely")}, "lonely.xml"),
    "image without annotation": ({"JPEGImages/bare.jpg": photo()}, "bare.jpg"),
    "malformed annotation": (
        {"JPEGImages/torn.jpg": photo(), "Annotations/torn.xml": "<annotation><object>"},
        "torn.xml",
    ),
    "box outside": (
        {"JPEGImages/far.jpg": photo(), "Annotations/far.xml": annotation("far", (5, 5, 900, 30))},
        "a box that extends beyond its image; clipped",
    ),
    "box without area": (
        {"JPEGImages/flat.jpg": photo(), "Annotations/flat.xml": annotation("flat", (5, 5, 5, 30))},
        "a box without area inside its image; dropped",
    ),
    "image that does not decode": (
        {"JPEGImages/noise.jpg": b"no photo at all", "Annotations/noise.xml": annotation("noise")},
        "noise.jpg",
    ),
}


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    """Returns a function that packs members into a zip."""

    def write(members: Mapping[str, bytes | str], name: str = "photos.zip") -> Path:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        return tmp_path / name

    return write


class Ended:
    """How a run ended and what it said."""

    def __init__(self, code: int, out: str, err: str):
        self.code, self.out, self.err = code, out, err
        assert "Traceback" not in out + err, err

    def with_error(self, code: int, *said: str) -> "Ended":
        assert self.code == code, self.err
        (sentence,) = [line for line in self.err.splitlines() if line.startswith("error: ")]
        missing = [each for each in said if each not in sentence]
        assert not missing, sentence
        return self

    def well(self) -> "Ended":
        assert self.code == 0, self.err
        return self


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Returns the machine's environment with a home, and so a cache, of the test's own."""
    kept = {name: value for name, value in os.environ.items() if name.isupper()}
    return {**kept, "HOME": str(tmp_path / "home"), "COLUMNS": "200"}


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Callable[..., subprocess.Popen]:
    def popen(
        *arguments: object, env: Mapping[str, str] | None = None, wrapper: Sequence[str] = (), **more: object
    ) -> subprocess.Popen:
        return subprocess.Popen(
            [*wrapper, sys.executable, MAIN, *map(str, arguments)],
            cwd=tmp_path,
            env={**environment, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )

    return popen


@pytest.fixture
def run(start: Callable[..., subprocess.Popen]) -> Callable[..., Ended]:
    def to_the_end(*arguments: object, **more: object) -> Ended:
        process = start(*arguments, **more)
        out, err = process.communicate(timeout=120)
        return Ended(process.returncode, out, err)

    return to_the_end


@pytest.fixture
def convert(run: Callable[..., Ended]) -> Callable[..., Ended]:
    return functools.partial(run, "--mode=dataset", "--output_path=shards")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Returns the address of a server of the test's folder; below /slow/ it says nothing for long."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/slow/"):
                released.wait(30)
                return
            super().do_GET()

        def log_message(self, *arguments: object) -> None:
            pass

    released = threading.Event()
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path))
    ) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        released.set()
        serving.shutdown()
        thread.join()


# Options.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], ["No data: url_dataset must be", "the command line, an @file or the environment", "@params.config"]),
        (["--url_dataset=demo", "--num_epoch=3"], ["Unknown option --num_epoch", "did you mean --num_epochs?"]),
        (
            ["--url_dataset=demo", "--batch_size=8.0"],
            ["batch_size must be a whole number", "'8.0'", "try --batch_size=8"],
        ),
        (
            ["--mode=dataset", "--url_dataset=demo", "--train_valid_split=80"],
            ["train_valid_split", "80.0", "at most 1"],
        ),
        (["--url_dataset=demo", "--train_valid_split=1"], ["train_valid_split must be below 1", "try 0.8"]),
        (["--mode=evaluate"], ["mode must be one of", "'evaluate'", "did you mean eval?"]),
    ],
)
def test_wrong_missing_and_contradictory_options(
    run: Callable[..., Ended], arguments: list[str], said: list[str]
) -> None:
    run(*arguments).with_error(2, *said)


def test_a_missing_file_of_options(run: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "params.config").write_text("")
    run("@param.config").with_error(66, "The option file 'param.config' does not exist", "@params.config?")


def test_no_network_asks_for_a_batch_larger_than_the_data(
    run: Callable[..., Ended], pack: Callable[..., Path], tmp_path: Path
) -> None:
    asked = [f"--url_dataset={pack(good_members())}", "--batch_size=8", "--pretrained_ckpt=none", "--image_size=128"]
    ended = run("--mode=train", *asked, "--run_name=small")
    ended.with_error(2, "batch_size must not be larger", "Received batch_size=8 with 4 images", "try --batch_size=4")
    assert (tmp_path / "runs" / "small" / "tfrecords" / "manifest.json").exists()


# Places.


def test_a_path_that_is_not_there(convert: Callable[..., Ended], tmp_path: Path) -> None:
    convert("--url_dataset=fotos.zip").with_error(66, "url_dataset", "'fotos.zip'", str(tmp_path))
    assert not (tmp_path / "shards").exists()


def test_an_address_that_does_not_answer(convert: Callable[..., Ended]) -> None:
    with socket.socket() as taken:  # Bound and never listening: nobody else can answer there.
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/photos.zip"
        convert(f"--url_dataset={address}").with_error(75, address, "--url_dataset", "Is the network up")


def test_an_address_with_nothing_behind_it(convert: Callable[..., Ended], server: str) -> None:
    convert(f"--url_dataset={server}/photos.zip").with_error(66, f"{server}/photos.zip", "404", "--url_dataset")


def test_a_workspace_that_cannot_be_written(
    run: Callable[..., Ended], pack: Callable[..., Path], tmp_path: Path
) -> None:
    photos = pack(good_members())
    (tmp_path / "taken").write_text("mine")
    ended = run("--mode=dataset", f"--url_dataset={photos}", "--workspace=taken")
    ended.with_error(73, "Cannot write taken/", "--workspace")
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_disk_that_fills_up_leaves_nothing_half_done(
    convert: Callable[..., Ended], pack: Callable[..., Path], tmp_path: Path
) -> None:
    photos = pack(good_members(9))
    # The limit is set in the new process: `preexec_fn` forks, and JAX, when another test has loaded it, warns of that.
    limited = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000)); "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    failed = convert(f"--url_dataset={photos}", wrapper=[sys.executable, "-c", limited])
    failed.with_error(73, "Cannot write", "the same command continues")
    assert [path for path in (tmp_path / "shards").rglob("*") if path.is_file()] == []
    convert(f"--url_dataset={photos}").well()
    assert (tmp_path / "shards" / "manifest.json").exists()


# Archives.


def test_a_zip_that_is_cut_off(convert: Callable[..., Ended], pack: Callable[..., Path]) -> None:
    photos = pack(good_members())
    photos.write_bytes(photos.read_bytes()[:-100])
    convert(f"--url_dataset={photos}").with_error(65, str(photos), "cut off or damaged")


def test_a_page_of_html_instead_of_a_zip(convert: Callable[..., Ended], server: str, tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_text("<!DOCTYPE html><html>Log in first</html>")
    convert(f"--url_dataset={server}/photos.zip").with_error(65, "must be a zip archive")


def test_a_zip_with_a_damaged_member(convert: Callable[..., Ended], pack: Callable[..., Path]) -> None:
    photos = pack(good_members())
    content = bytearray(photos.read_bytes())
    content[200] ^= 0xFF
    photos.write_bytes(content)
    convert(f"--url_dataset={photos}").with_error(65, "damaged member 'JPEGImages/good0.jpg'", "nothing was unpacked")


def test_a_zip_that_reaches_outside(convert: Callable[..., Ended], pack: Callable[..., Path], tmp_path: Path) -> None:
    photos = pack({**good_members(), "../../evil.txt": "x"})
    convert(f"--url_dataset={photos}").with_error(65, "'../../evil.txt'", "'..'")
    assert [path for path in tmp_path.rglob("*") if path.name in {"evil.txt", "good0.jpg"}] == []


def test_another_hash_than_expected(
    convert: Callable[..., Ended], pack: Callable[..., Path], server: str, tmp_path: Path
) -> None:
    photos = pack(good_members())
    found = hashlib.sha256(photos.read_bytes()).hexdigest()
    wrong = f"--dataset_sha256={'0' * 64}"
    convert(f"--url_dataset={photos}", wrong).with_error(65, "0" * 64, found)
    convert(f"--url_dataset={server}/photos.zip", wrong).with_error(65, "0" * 64, found)
    convert(f"--url_dataset={server}/photos.zip", f"--dataset_sha256={found.upper()}").well()
    assert (tmp_path / "shards" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("left_out", "said"), [(".jpg", "photo"), (".xml", "annotation")], ids=["no image", "no annotation"]
)
def test_a_zip_without_photos_or_without_annotations(
    convert: Callable[..., Ended], pack: Callable[..., Path], left_out: str, said: str
) -> None:
    members = {name: content for name, content in good_members().items() if not name.endswith(left_out)}
    convert(f"--url_dataset={pack(members)}").with_error(65, said)


def test_an_empty_folder(convert: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    convert("--url_dataset=photos").with_error(65, "photos")


# Photos and annotations.


def test_faults_are_counted_and_listed_and_the_rest_is_used(
    convert: Callable[..., Ended], pack: Callable[..., Path], tmp_path: Path
) -> None:
    members = good_members()
    for faulty, _ in FAULTS.values():
        members |= faulty
    ended = convert(f"--url_dataset={pack(members)}").well()
    warnings = [line for line in ended.err.splitlines() if line.startswith("warning: ")]
    for fault, (_, said) in FAULTS.items():
        assert any(said in line and "1 × " in line for line in warnings), (fault, ended.err)
    assert "problems.jsonl" in ended.out
    assert len((tmp_path / "shards" / "problems.jsonl").read_text().splitlines()) >= len(FAULTS)


@pytest.mark.parametrize("fault", FAULTS)
def test_strict_makes_a_fault_fatal(convert: Callable[..., Ended], pack: Callable[..., Path], fault: str) -> None:
    faulty, said = FAULTS[fault]
    photos = pack({**good_members(), **faulty})
    convert(f"--url_dataset={photos}", "--strict").with_error(65, said, "With --strict", "leave --strict out")


def test_photos_that_are_all_bad(convert: Callable[..., Ended], pack: Callable[..., Path]) -> None:
    faulty, _ = FAULTS["image that does not decode"]
    convert(f"--url_dataset={pack(faulty)}").with_error(65, "Of 1 image in", "JPEGImages/noise.jpg")


def test_a_failure_loses_nothing_that_was_there(
    convert: Callable[..., Ended], pack: Callable[..., Path], tmp_path: Path
) -> None:
    convert(f"--url_dataset={pack(good_members())}").well()
    before = {path.name: path.read_bytes() for path in (tmp_path / "shards").iterdir()}
    faulty, _ = FAULTS["malformed annotation"]
    convert(f"--url_dataset={pack({**good_members(), **faulty}, 'more.zip')}", "--strict").with_error(65)
    assert {path.name: path.read_bytes() for path in (tmp_path / "shards").iterdir()} == before


# Every way to give options.


def test_the_environment_alone(run: Callable[..., Ended], pack: Callable[..., Path], tmp_path: Path) -> None:
    photos = pack(good_members(), "Fotos für später.zip")
    run(env={"mode": "dataset", "url_dataset": str(photos), "run_name": "猫", "label_map": ""}).well()
    assert (tmp_path / "runs" / "猫" / "tfrecords" / "manifest.json").exists()


def test_command_line_over_file_over_environment(
    run: Callable[..., Ended], pack: Callable[..., Path], tmp_path: Path
) -> None:
    pack(good_members(), "my photos.zip")
    lines = ["# mine", "--mode = dataset", '--url_dataset="my photos.zip"  # quoted', "--output_path=file"]
    (tmp_path / "my options.txt").write_bytes("\r\n".join(["\ufeff" + lines[0], *lines[1:]]).encode())
    environment = {"output_path": "environment", "mode": "eval"}
    run("@my options.txt", "--output_path", "command line", env=environment).well()
    run("--config", "my options.txt", env=environment).well()
    made = {path.parent.name for path in tmp_path.rglob("manifest.json")}
    assert made == {"command line", "file"}


# Asked to stop.


@pytest.mark.parametrize(("asked", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_download_may_be_stopped(
    start: Callable[..., subprocess.Popen], server: str, tmp_path: Path, asked: signal.Signals, code: int
) -> None:
    process = start("--mode=dataset", f"--url_dataset={server}/slow/photos.zip")
    deadline = time.monotonic() + 60
    while not list((tmp_path / "home").rglob("*.lock")) and time.monotonic() < deadline:
        time.sleep(0.02)  # Until it is about to ask.
    time.sleep(0.2)
    process.send_signal(asked)
    out, err = process.communicate(timeout=60)
    Ended(process.returncode, out, err).with_error(code, "Stopped by", "the same command continues")
