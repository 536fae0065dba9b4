"""Mutated label maps, aliases and hyperparameters: each gives a value or one of our errors, in a short time."""

import contextlib
import itertools
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from audit_watch import Watch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from efficientdet_pipeline.errors import PipelineError
from efficientdet_pipeline.models.build import read_network
from efficientdet_pipeline.options.hparams import HparamsGiven, merge_hparams
from efficientdet_pipeline.options.label_map import read_label_aliases, read_label_map
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.options.parser import Given
from efficientdet_pipeline.options.training import TrainOptions

NUM_QUICK, NUM_SLOW = 25, 10_000
MAX_SECONDS, MAX_MEMORY_BYTES = 10.0, 1 << 30  # CPU time, because other programs may run.
HPARAMS = (
    b"name: efficientdet-d0\nimage_size: 640x384\nnum_classes: 3\nlabel_map: {1: cat, 2: 'no'}\naspect_ratios: [1.0, "
    b"2.0]\nanchor_scale: !!python/tuple [3.0, 4.0]\nfpn_cell_repeats: 1\nbackbone_config: {blocks: [r1_k3_s11_e1_i32]}"
    b"\nlearning_rate: 8.0e-2\nmoving_average_decay: null\nmixed_precision: no\n"
)
_PBTXT = b"item {\n  id: 1\n  name: 'cat'\n  display_name: \"c\xc3\xa4t\"\n}\nitem {\n  name: '/m/01'\n  id: 2\n}\n"


def read_map(path: Path) -> None:
    label_map = read_label_map(str(path), source="--label_map")
    for class_id, name in (label_map or {}).items():
        assert class_id >= 1
        assert name == name.strip() != ""
        assert name.isprintable()


def read_inline_map(path: Path) -> None:
    read_label_map(path.read_bytes().decode("utf-8", "surrogateescape"), source="--label_map")


def read_aliases(path: Path) -> None:
    read_label_aliases(str(path))


def read_hparams(path: Path) -> None:
    merge_hparams([Given(str(path), "the command line")], TrainOptions)


def read_inline_hparams(path: Path) -> None:
    merge_hparams([Given(path.read_bytes().decode("utf-8", "surrogateescape"), "the command line")], TrainOptions)


def read_description(path: Path) -> None:
    read_network(path, ModelOptions(), HparamsGiven())


# {kind: (file, content, reader)}.
BROKEN: dict[str, tuple[str, bytes, Callable[[Path], None]]] = {
    "label map yaml": ("a.yaml", "1: cat\n2: 'dög'\n3: no\n".encode(), read_map),
    "label map flow": ("a.yml", b"label_map: {1: cat, 2: dog}\n", read_map),
    "label map json": (
        "a.json",
        b'{"categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "d\\u00f6g"}]}',
        read_map,
    ),
    "label map pbtxt": ("a.pbtxt", _PBTXT, read_map),
    "label map text": ("a.txt", "cat\ndög\nbird\n".encode(), read_map),
    "label map inline": ("a", b"{1: cat, 2:dog, 3: 'a, b'}", read_inline_map),
    "label aliases": ("a.yaml", b"redcell: RBC\nrbc: RBC\n'010': no\n", read_aliases),
    "hparams": ("a.yaml", HPARAMS, read_hparams),
    "hparams inline": (
        "a",
        b"image_size=640x384,num_classes=3,aspect_ratios=[1.0,2.0],backbone_config.x=1",
        read_inline_hparams,
    ),
    "hparams_config.yaml": ("hparams_config.yaml", HPARAMS, read_description),
}
BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % (name, name, *[name - 1] * 9) for name in range(98, 108)
)
TOKENS = [
    b"NaN", b"-.inf", b"1e999", b"-1", b"0", b"9" * 400, b"null", b"~", b"true", b'"', b"'", b"[", b"]", b"{", b"}",
    b",",
    b":", b": ", b"\n", b"\r", b"\0", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\xef\xbf\xbd", b"../../etc/passwd",
    b"[" * 2000, b'{"a":' * 2000, b"- " * 2000, b"!!python/object/apply:os.system [id]",
    b"!!python/name:os.system ",
    b"!!binary aGk=", b"&x [*x, *x]", b"<<: *x", b"*x", b"\t", b"#", b"|", b">", b"? ", b"---\n", b"%YAML 9.9\n",
    b"1:" * 400, b"59:59:59:59", b"0x" + b"f" * 99, b"0b1", b"\\ud800", b"\xed\xa0\x80", b"\x1b]0;x\x07",
    b"\xe2\x80\xae",
    BOMB, b"item {" * 500, b"item { id: 99999999999 }", b"=", b" = ", b"a" * 9000, "ä".encode("cp1252"), b"\xb0\xa1",
]  # fmt: skip


@pytest.fixture(scope="module")
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.is_on = False


@st.composite
def broken(draw: st.DrawFn, whole: bytes) -> bytes:
    """Returns a text with a few bytes flipped, cut, repeated, or replaced by special tokens."""
    data = whole
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        piece = draw(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=4), st.just(data[start:end] * 3)))
        tail = b"" if draw(st.integers(0, 9)) == 0 else data[end:]
        data = data[:start] + piece + tail
    return data


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory, watch: Watch) -> Callable[[str, bytes], None]:
    root = tmp_path_factory.mktemp("mutations")
    numbers = itertools.count()

    def run(kind: str, data: bytes) -> None:
        name, _, read = BROKEN[kind]
        folder = root / str(next(numbers))
        folder.mkdir()
        (folder / name).write_bytes(data)
        watch.found.clear()
        start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        watch.is_on = True
        try:
            with contextlib.suppress(PipelineError):
                read(folder / name)
        finally:
            watch.is_on = False
            shutil.rmtree(folder)
        assert not watch.found
        assert time.process_time() - start < MAX_SECONDS
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MAX_MEMORY_BYTES

    for kind, (_, whole, _) in BROKEN.items():
        run(kind, whole)  # Performs lazy imports.
    return run


def relaxed(max_examples: int) -> settings:
    return settings(max_examples=max_examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("kind", BROKEN)
def test_whole_files_are_read(tmp_path: Path, kind: str) -> None:
    name, whole, read = BROKEN[kind]
    (tmp_path / name).write_bytes(whole)
    if not kind.startswith("hparams"):
        read(tmp_path / name)


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("token", TOKENS, ids=range(len(TOKENS)))
def test_nasty_tokens_alone_and_as_values_end_in_a_message(check, kind: str, token: bytes) -> None:
    whole = BROKEN[kind][1]
    for data in (token, whole + token, whole.replace(b"cat", token).replace(b"3", token)):
        check(kind, data)


@pytest.mark.parametrize("kind", BROKEN)
@given(data=st.data())
@relaxed(NUM_QUICK)
def test_broken_options_files_end_in_a_message(check, kind: str, data: st.DataObject) -> None:
    check(kind, data.draw(broken(BROKEN[kind][1])))


@pytest.mark.slow
@pytest.mark.parametrize("kind", BROKEN)
@given(data=st.data())
@relaxed(NUM_SLOW)
def test_thousands_of_broken_options_files_end_in_a_message(check, kind: str, data: st.DataObject) -> None:
    check(kind, data.draw(broken(BROKEN[kind][1])))
