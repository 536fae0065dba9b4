"""Tests of the conversion of semantic maps and image classes to records."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfrmod.convert import ConvertOptions, convert
from tfrmod.errors import DatasetError
from tfrmod.example import decode_example
from tfrmod.manifest import Manifest
from tfrmod.masks import array_png, png_array
from tfrmod.sources import SOURCES
from tfrmod.sources.image_classes import CLASS_SOURCES
from tfrmod.sources.semantic import SEMANTIC_SOURCES
from tfrmod.tfrecord_io import read_records


@pytest.fixture(autouse=True)
def _known_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, source in (SEMANTIC_SOURCES | CLASS_SOURCES).items():
        monkeypatch.setitem(SOURCES, name, source)


def put_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)


def images_of(manifest: Manifest, split: str) -> list:
    files = manifest.splits[split].files
    return [decode_example(record) for shard in files for record in read_records(manifest.folder / shard.name)]


def test_convert_ade20k_writes_one_map_an_image(tmp_path: Path) -> None:
    folder = tmp_path / "ade"
    for number, split in enumerate(("training", "training", "training", "validation")):
        put_image(folder / f"images/{split}/{number}.png", number)
        values = np.full((40, 50), number + 1, np.uint8) if number < 2 else np.zeros((40, 50), np.uint8)
        values = np.full((20, 20), 1, np.uint8) if number == 2 else values
        (folder / f"annotations/{split}").mkdir(parents=True, exist_ok=True)
        (folder / f"annotations/{split}/{number}.png").write_bytes(array_png(values))
    options = ConvertOptions(source_format="ade20k", include_masks=True, num_workers=1)
    manifest = convert(folder, tmp_path / "records", options)
    assert (manifest.num_classes, manifest.label_map[150]) == (150, "flag")
    train, val = images_of(manifest, "train"), images_of(manifest, "val")
    assert sorted(int(png_array(image.segmentation).max()) for image in train) == [1, 2]
    assert [np.unique(png_array(image.segmentation)).tolist() for image in val] == [[255]]
    assert "a map of 20x20 pixels" in (tmp_path / "records/problems.jsonl").read_text()


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        ({1: "sky", 2: "tree"}, None),
        ({1: "tree", 2: "sky"}, "sky is 1 in the data and 2 in the label map; tree is 2"),
        ({1: "sky"}, r"no name for 2 \(tree\)\. Leave"),
    ],
)
def test_convert_names_every_value_of_maps(tmp_path: Path, label_map: dict[int, str], message: str | None) -> None:
    for number in range(4):
        put_image(tmp_path / f"set/images/{number}.png", number)
        (tmp_path / "set/masks").mkdir(exist_ok=True)
        values = np.full((40, 50), number % 3, np.uint8)
        (tmp_path / f"set/masks/{number}.png").write_bytes(array_png(values))
    (tmp_path / "set/classes.txt").write_text("background\nsky\ntree\n")
    options = ConvertOptions(source_format="semantic_masks", semantic=True, label_map=label_map, num_workers=1)
    if message is None:
        assert convert(tmp_path / "set", tmp_path / "records", options).label_map == label_map
        return
    with pytest.raises(DatasetError, match=message):
        convert(tmp_path / "set", tmp_path / "records", options)


def test_convert_options_refuse_aliases_of_maps() -> None:
    with pytest.raises(ValueError, match="label_aliases joins classes of boxes, and not the values of maps"):
        ConvertOptions(semantic=True, label_aliases={"a": "b"})


def test_convert_class_folders_writes_an_object_an_image(tmp_path: Path) -> None:
    for number in range(6):
        split, name = ("train", "val")[number % 3 == 2], ("cat", "dog")[number % 2]
        put_image(tmp_path / f"animals/{split}/{name}/{number}.png", number)
    options = ConvertOptions(source_format="class_folders", num_workers=1)
    manifest = convert(tmp_path / "animals", tmp_path / "records", options)
    assert manifest.label_map == {1: "cat", 2: "dog"}
    found = {image.filename: image.objects for split in ("train", "val") for image in images_of(manifest, split)}
    assert len(found) == 6
    for filename, [thing] in found.items():
        assert thing.name == filename.split("/")[1]
        assert thing.class_id == {"cat": 1, "dog": 2}[thing.name]
        assert thing.box == pytest.approx((0, 0, 40, 50))
