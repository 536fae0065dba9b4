"""Where the photos are, and what tells them from others."""

import zipfile
from pathlib import Path

import pytest

from efficientdet_pipeline.commands.photos import DEMO, data_identity, find_photos
from efficientdet_pipeline.errors import MissingError
from efficientdet_pipeline.options.convert import ConvertOptions


def options(place: object, **more: str) -> ConvertOptions:
    return ConvertOptions(mode="dataset", url_dataset=str(place), **more)


def write_zip(path: Path, text: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.xml", text)
    return path


def test_a_zip_is_known_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    here = write_zip(tmp_path / "a.zip", "one")
    there = write_zip(tmp_path / "elsewhere" / "b.zip", "one")
    other = write_zip(tmp_path / "c.zip", "two")
    assert data_identity(options(here)) == data_identity(options(there)) != data_identity(options(other))


def test_an_address_is_known_without_a_network() -> None:
    first, second = (data_identity(options(f"http://127.0.0.1:9/{name}.zip")) for name in "ab")
    assert first != second


def test_runs_among_the_photos_do_not_make_other_data_of_them(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("one")
    before = data_identity(options(tmp_path, workspace=str(tmp_path / "runs")))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "log.txt").write_text("much")
    assert data_identity(options(tmp_path, workspace=str(tmp_path / "runs"))) == before


def test_nothing_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="url_dataset must be an address, a zip or a folder"):
        data_identity(options(tmp_path / "no.zip"))


def test_the_demo_is_made_and_unpacked(tmp_path: Path) -> None:
    folder = find_photos(options(DEMO, cache_dir=str(tmp_path)))
    assert len(list((folder / "JPEGImages").iterdir())) == 240
