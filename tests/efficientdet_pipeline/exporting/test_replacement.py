"""New files for old ones, all or none."""

from pathlib import Path

import pytest

from efficientdet_pipeline.exporting.replacement import check_replaceable, move_in


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Returns a home with an old file and an old folder, a folder of new ones, and a place to put away."""
    home, new = tmp_path / "home", tmp_path / "new"
    for folder, text in ((home, "old"), (new, "new")):
        (folder / "model").mkdir(parents=True)
        (folder / "model" / "weights").write_text(text)
        (folder / "labels").write_text(text)
    (home / "model" / "more").write_text("old")
    (new / "z_first_time").write_text("new")
    return home, new, tmp_path / "put_away"


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_new_stands_where_the_old_stood(folders: tuple[Path, Path, Path]) -> None:
    home, new, put_away = folders
    move_in(new, home, put_away=put_away)
    assert contents(home) == {"labels": "new", "model/weights": "new", "z_first_time": "new"}
    assert contents(put_away) == {"labels": "old", "model/more": "old", "model/weights": "old"}


@pytest.mark.parametrize("failing", ["labels", "model", "z_first_time"])
def test_after_a_failure_all_is_as_before(
    folders: tuple[Path, Path, Path], failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, new, put_away = folders
    before = contents(home)
    rename = Path.rename

    def failing_rename(self: Path, target: Path) -> Path:
        if self == new / failing:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing_rename)
    with pytest.raises(KeyboardInterrupt):
        move_in(new, home, put_away=put_away)
    assert contents(home) == before


def test_what_may_be_replaced(tmp_path: Path) -> None:
    check_replaceable(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    check_replaceable(tmp_path / "empty")
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "saved_model.pb").touch()
    check_replaceable(tmp_path / "export")
    assert (tmp_path / "export" / "saved_model.pb").exists()
