"""Location of the images, and their identity."""

import tarfile
import zipfile
from functools import partial
from pathlib import Path

import pytest

from efficientdet_pipeline.data.prepare import DEMO, data_identity, prepare_images
from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.options.dataset import ImageOptions
from tfrmod.errors import DatasetError


def options(place: object, **more: str) -> ImageOptions:
    return ImageOptions(url_dataset=str(place), **more)


def write_zip(path: Path, text: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.xml", text)
    return path


def test_prepare_zip_is_known_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    here = write_zip(tmp_path / "a.zip", "one")
    there = write_zip(tmp_path / "elsewhere" / "b.zip", "one")
    other = write_zip(tmp_path / "c.zip", "two")
    assert (
        data_identity(options(here), "runs")
        == data_identity(options(there), "runs")
        != data_identity(options(other), "runs")
    )


def test_prepare_address_is_known_without_a_network() -> None:
    first, second = (data_identity(options(f"http://127.0.0.1:9/{name}.zip"), "runs") for name in "ab")
    assert first != second


def test_prepare_runs_among_the_images_do_not_make_other_data_of_them(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("one")
    before = data_identity(options(tmp_path), str(tmp_path / "runs"))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "log.txt").write_text("much")
    assert data_identity(options(tmp_path), str(tmp_path / "runs")) == before


def test_prepare_nothing_there_is_logged(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="url_dataset must be a URL, a zip or a folder"):
        data_identity(options(tmp_path / "no.zip"), "runs")


def test_prepare_demo_is_made_and_unpacked(tmp_path: Path) -> None:
    folder = prepare_images(options(DEMO, cache_dir=str(tmp_path)))
    assert len(list((folder / "JPEGImages").iterdir())) == 240


def test_prepare_damaged_download_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache" / "downloads"
    cache.mkdir(parents=True)
    zip_path = write_zip(cache / "a.zip", "one" * 99)
    zip_path.write_bytes(zip_path.read_bytes().replace(b"oneone", b"onEone", 1))
    monkeypatch.setattr("tfrmod.download.fetch", lambda *_, **__: zip_path)
    with pytest.raises(DatasetError, match=r"damaged member 'a\.xml'"):
        prepare_images(options("http://127.0.0.1:9/a.zip", cache_dir=str(tmp_path / "cache")))
    assert not zip_path.exists()


def test_prepare_damaged_zip_of_the_users_own_stays(tmp_path: Path) -> None:
    zip_path = write_zip(tmp_path / "a.zip", "one")
    zip_path.write_bytes(zip_path.read_bytes()[:-9])
    with pytest.raises(DatasetError, match="cut off or damaged"):
        prepare_images(options(zip_path, cache_dir=str(tmp_path / "cache")))
    assert zip_path.exists()


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_prepare_tar_ends_with_a_sentence(tmp_path: Path, mode: str) -> None:
    with tarfile.open(tmp_path / "photos.tar", mode) as archive:
        archive.addfile(tarfile.TarInfo("a.xml"))
    with pytest.raises(DatasetError, match=r"must be a zip archive; it is a (tar|gzip) archive.*pack it again\.$"):
        prepare_images(options(tmp_path / "photos.tar", cache_dir=str(tmp_path / "cache")))


@pytest.mark.parametrize("edit", ["change", "add", "remove", "same length"])
def test_prepare_data_dir_that_was_edited_is_refused_until_it_is_named_alone(tmp_path: Path, edit: str) -> None:
    zip_path, folder = write_zip(tmp_path / "a.zip", "one"), tmp_path / "data"
    given = options(zip_path, data_dir=str(folder))
    data_identity(given, "runs")
    prepare_images(given)
    data_identity(given, "runs")
    changed = folder / ("mine.xml" if edit == "add" else "a.xml")
    if edit == "remove":
        changed.unlink()
    else:
        changed.write_text("two" if edit == "same length" else "corrected")
    with pytest.raises(DatasetError, match=rf"edited since: {changed.name}\. To use it as it is now, set --data_dir="):
        data_identity(given, "runs")
    alone = ImageOptions(data_dir=str(folder))
    assert data_identity(alone, "runs")
    assert prepare_images(alone) == folder


def test_prepare_hash_that_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, "demo"):
        for look in (partial(data_identity, workspace="runs"), prepare_images):
            with pytest.raises(OptionsError, match=r"dataset_sha256 is the hash of a zip file"):
                look(options(place, dataset_sha256="0a" * 32, cache_dir=str(tmp_path)))
