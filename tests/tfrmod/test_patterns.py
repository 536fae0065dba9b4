"""Tests of comma-separated globs and escaped paths."""

from pathlib import Path

import pytest

from tfrmod.errors import DatasetError
from tfrmod.patterns import escape_path, glob_files, matching_files, split_patterns

NAMES = [
    "plain",
    "my runs [v2] ü",
    "a,b",
    "a, b [c,d]",
    "what?",
    "st*r",
    "[]",
    "]x[",
    "[!a]",
    " outer blanks ",
    "**",
    "猫 {1,2}",
    'it\'s "quoted"',
    "~",
    "$HOME",
]


def make(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_escape_path_matches_that_path_alone(name: str) -> None:
    wanted = [make(Path(name) / f"train-{number}") for number in range(2)]
    for other in ("v", "a", "stir", "whatx", "b", "x", "deep/er"):
        make(Path(other) / "train-0")
    assert matching_files(f"{escape_path(name)}/train-*") == tuple(wanted)
    assert matching_files(f"{escape_path(Path(name).resolve())}/train-*") == tuple(path.resolve() for path in wanted)

    other = make(Path("other/train-5"))
    assert matching_files(f"other/train-5,{escape_path(name)}/train-*") == tuple(sorted([other, *wanted]))


@pytest.mark.parametrize("name", [name for name in NAMES if name == name.strip() and name != "**"])
def test_patterns_folder_that_is_there_is_meant_as_it_is_written(name: str) -> None:
    wanted = make(Path(name) / "train-0")
    assert matching_files(f"{name}/train-*") == (wanted,)
    assert matching_files(f"{name}/train-0") == (wanted,)


def test_pattern_that_may_be_read_in_two_ways_is_refused() -> None:
    make(Path("runs [12]/train-0"))
    make(Path("runs 1/train-0"))
    with pytest.raises(DatasetError, match=r"two ways.*\[\[\] for a bracket"):
        glob_files("runs [12]/train-*")
    assert glob_files("runs [[]12]/train-*") == {Path("runs [12]/train-0")}
    make(Path("a,b/train-0"))
    make(Path("b/train-0"))
    with pytest.raises(DatasetError, match=r"two ways.*\[,\] for a comma"):
        matching_files("a,b/train-*")
    assert matching_files("a[,]b/train-*") == (Path("a,b/train-0"),)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        (" a , b ,", ["a", "b"]),
        ("[0-9],[!a]", ["[0-9]", "[!a]"]),
        ("a[,]b,c", ["a[,]b", "c"]),
        ("[]],b", ["[]]", "b"]),
        ("a[b,c", ["a[b", "c"]),
        ("", []),
        (",", []),
    ],
)
def test_split_patterns_leaves_commas_in_brackets(text: str, parts: list[str]) -> None:
    assert split_patterns(text) == parts


def test_matching_files_names_the_glob_that_matches_nothing() -> None:
    make(Path("a/train-0"))
    with pytest.raises(DatasetError, match=r"No shards match a/trian-\*\. Similar names there: train-0"):
        matching_files("a/train-*,a/trian-*")
    with pytest.raises(DatasetError, match=r"No shards match b \(--val_file_pattern\)\."):
        matching_files("b", source="--val_file_pattern")
    with pytest.raises(DatasetError, match=r"names no shards"):
        matching_files(" , ")
