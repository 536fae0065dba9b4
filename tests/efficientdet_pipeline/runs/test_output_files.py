"""Results replace those of an earlier call, and no unrelated file."""

from pathlib import Path

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.runs.output_files import NOTE, check_output_files, check_output_json, note_output_files


def write(folder: Path, *names: str) -> None:
    earlier = check_output_files(folder, names, option="out")
    note_output_files(folder, names, earlier)
    for name in names:
        (folder / name).write_text("ours")


def test_files_of_earlier_calls_are_replaced(tmp_path: Path) -> None:
    write(tmp_path / "out", "a.jpg", "b.jpg")
    write(tmp_path / "out", "b.jpg", "c.jpg")
    write(tmp_path / "out", "a.jpg")
    assert check_output_files(tmp_path / "out", ["c.jpg"], option="out") == {"a.jpg", "b.jpg", "c.jpg"}


def test_files_that_a_killed_call_was_about_to_write_are_replaced(tmp_path: Path) -> None:
    note_output_files(tmp_path, ["a.jpg", "b.jpg"], set())
    (tmp_path / "a.jpg").write_text("ours")
    write(tmp_path, "a.jpg", "b.jpg")


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling link"])
def test_another_file_of_the_same_name_is_refused(tmp_path: Path, kind: str) -> None:
    write(tmp_path, "a.jpg")
    foreign = tmp_path / "b.jpg"
    if kind == "folder":
        foreign.mkdir()
    elif kind == "file":
        foreign.write_text("mine")
    else:
        foreign.symlink_to(tmp_path / ("a.jpg" if kind == "link" else "nowhere"))
    with pytest.raises(
        OptionsError, match=r"contains b\.jpg, not written by an earlier call; choose another folder"
    ) as told:
        check_output_files(tmp_path, ["a.jpg", "b.jpg"], option="out")
    assert told.value.option == "out"


def test_a_file_that_came_after_the_call_that_did_not_write_it_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg")
    (tmp_path / "mine.jpg").write_text("mine")
    write(tmp_path, "b.jpg")
    with pytest.raises(OptionsError, match=r"mine\.jpg"):
        check_output_files(tmp_path, ["mine.jpg"], option="out")


def test_many_are_counted(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(9)]
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(OptionsError, match=r"contains 0\.jpg, .*4\.jpg and 4 more, not written"):
        check_output_files(tmp_path, names, option="out")


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OptionsError, match="out must be a folder, or not exist"):
        check_output_files(tmp_path / "out", [], option="out")


@pytest.mark.parametrize("content", [b"\xff", b"[]", b'{"files": 3}', b'{"files": ["b.jpg"', b"[" * 100_000])
def test_a_note_that_is_none_protects_everything(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NOTE).write_bytes(content)
    (tmp_path / "b.jpg").touch()
    with pytest.raises(OptionsError, match=r"b\.jpg"):
        check_output_files(tmp_path, ["b.jpg"], option="out")


def test_a_json_file_of_another_program_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    check_output_json(path, {"speeds"}, option="output")
    path.write_text('{"speeds": 1, "cores": 2}')
    check_output_json(path, {"speeds"}, option="output")
    for content in ('{"title": "mine"}', "text", ""):
        path.write_text(content)
        with pytest.raises(OptionsError, match="output must name a file that does not exist, or that an earlier call"):
            check_output_json(path, {"speeds"}, option="output")
    path.unlink()
    path.mkdir()
    with pytest.raises(OptionsError, match="which is unrelated"):
        check_output_json(path, {"speeds"}, option="output")
