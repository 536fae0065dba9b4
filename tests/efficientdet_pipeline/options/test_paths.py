"""`~` is the home folder in every option that names a path, wherever it is given."""

import re
from pathlib import Path
from typing import Any

import pytest

from efficientdet_pipeline.commands import DEFAULT_MODE, MODES
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.parser import Given, Reader
from efficientdet_pipeline.options.paths import KINDS, expand_home
from efficientdet_pipeline.options.schema import declarations
from efficientdet_pipeline.options.training import TrainOptions
from tfrmod.manifest import shard_files

# Their help mentions a file or folder, but they are not paths.
NO_PATHS = {
    "results",
    "run_name",
    "year",
    "eval_name",
    "image_size",
    "val_set",
    "train_set",
    "set",
    "cache",
    "mode",
    "augment_steps",
    "log_format",
}


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader({name: mode.options_class() for name, mode in MODES.items()}, DEFAULT_MODE)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def paths_of(mode: str) -> list[str]:
    declared = declarations(MODES[mode].options_class())
    return [name for name in declared if declared[name].path]


@pytest.mark.parametrize("mode", MODES)
def test_every_option_whose_help_names_a_file_is_declared_as_a_path(mode: str) -> None:
    for name, declared in declarations(MODES[mode].options_class()).items():
        assert declared.path in ("", *KINDS)
        is_named = re.search(r"\b(folder|file|path|glob|yaml|json)\b", declared.help, re.IGNORECASE) is not None
        if declared.kind is str and is_named and name not in NO_PATHS:
            assert declared.path, f"{name}: declare it by option(..., path=...), or add it to NO_PATHS"


@pytest.mark.parametrize("mode", MODES)
def test_home_is_expanded_in_every_path_of_every_mode_wherever_it_is_given(
    reader: Reader, home: Path, mode: str
) -> None:
    (home / "a b").mkdir()
    (home / "a b" / "x").touch()  # --augment_config is read as soon as it is given.
    for name in paths_of(mode):
        expected = f"{home}/a b/x"
        typed = f"--{name}=~/a b/x"
        (home / "x.config").write_text(typed)
        given = {
            "command line": reader.read([f"--mode={mode}", typed], {}),
            "file": reader.read([f"--mode={mode}", "@~/x.config"], {}),
            "environment": reader.read([f"--mode={mode}"], {name: "~/a b/x"}),
        }
        for place, sources in given.items():
            if place != "environment" or reader.known[name].from_environment:
                assert sources.given[name].value == expected, (name, place)


def test_home_is_expanded_in_what_hparams_give(reader: Reader, home: Path) -> None:
    sources = reader.read(["--url_dataset=demo"], {})
    options = reader.build(sources, TrainOptions, {"backbone_ckpt": Given("~/b.h5", "--hparams (x)")})
    assert options.pretrained.backbone_ckpt == f"{home}/b.h5"


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("~", "path", "{home}"),
        ("~/", "path", "{home}/"),
        ("~/x", "path", "{home}/x"),
        ("~//x", "path", "{home}//x"),
        ("a/~/x", "path", "a/~/x"),
        ("./~x/y", "path", "./~x/y"),
        ("~backup.zip", "path", "~backup.zip"),
        ("x~", "path", "x~"),
        ("https://host/~user/a.zip", "path", "https://host/~user/a.zip"),
        ("auto", "path", "auto"),
        ("~/*.jpg", "glob", "{home}/*.jpg"),
        ("~/a-*,b/c-*,~/d-*", "globs", "{home}/a-*,b/c-*,{home}/d-*"),
        ("a~,~b", "globs", "a~,~b"),
    ],
)
def test_expand_home_changes_a_leading_tilde_alone(home: Path, text: str, kind: str, expected: str) -> None:
    assert expand_home(text, kind) == expected.format(home=home)


def test_a_home_whose_name_looks_like_a_glob_stays_literal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "me [1], too"
    folder.mkdir()
    (folder / "train-0").touch()
    monkeypatch.setenv("HOME", str(folder))
    assert shard_files(expand_home("~/train-*", "globs")) == (folder / "train-0",)
    assert expand_home("~/x", "path") == f"{folder}/x"


def test_an_unknown_user_is_refused_with_where_the_path_came_from(reader: Reader, home: Path) -> None:
    with pytest.raises(OptionsError, match=r"model_dir starts with .* '~nobody-here/x'; .*came from the command line"):
        reader.read(["--mode=train", "--model_dir=~nobody-here/x"], {})
    Path("~nobody-here").mkdir()
    given: Any = reader.read(["--mode=train", "--model_dir=~nobody-here/x"], {}).given
    assert given["model_dir"].value == "~nobody-here/x"
