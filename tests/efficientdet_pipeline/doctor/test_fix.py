"""The corrected copy has no issues when it is read again, and the original is unchanged."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efficientdet_pipeline.doctor import collect, fix
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.label_map import read_label_map
from tfrmod.convert_options import ConvertOptions
from tfrmod.workers import Workers

BOXES = [("cat", 5, 6, 40, 50), ("cat", 5, 6, 40, 50), ("dog", 90, 60, 50, -10), ("dog", 5, 5, 5, 9)]


def write_image(path: Path, seed: int, *, format: str = "JPEG", orientation: int = 1) -> None:
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blocks).resize((96, 64), Image.Resampling.NEAREST).save(path, format, exif=exif)


def write_annotation(path: Path, objects: list[tuple], size: tuple[int, int] = (64, 96)) -> None:
    objects = "".join(
        f"<object><name>{name}</name><difficult>1</difficult><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for name, x0, y0, x1, y1 in objects
    )
    stated = f"<size><width>{size[1]}</width><height>{size[0]}</height></size>"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation>{stated}{objects}</annotation>")


@pytest.fixture
def ill(tmp_path: Path) -> Path:
    """Returns a data set with every problem that can be corrected."""
    folder = tmp_path / "ill"
    for number in range(8):
        write_image(folder / f"{number}.jpg", number)
        write_annotation(folder / f"{number}.xml", BOXES if number == 0 else BOXES[:1])
    write_image(folder / "lying.jpg", 20, format="PNG")
    write_annotation(folder / "lying.xml", BOXES[:1])
    write_image(folder / "turned.jpg", 21, orientation=6)
    write_annotation(folder / "turned.xml", BOXES[:1])
    write_image(folder / "other" / "0.jpg", 22)
    write_annotation(folder / "other" / "0.xml", [])
    write_image(folder / "copy.jpg", 3)
    write_annotation(folder / "copy.xml", BOXES[:1])
    (folder / "torn.jpg").write_bytes((folder / "1.jpg").read_bytes()[:200])
    write_annotation(folder / "torn.xml", BOXES[:1])
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("1\n2\n3\n4\n5\n6\n7\nlying\nturned\ntorn\n")
    (lists / "val.txt").write_text("copy\n0\n")
    return folder


@pytest.fixture
def look(tmp_path: Path) -> Callable[[Path], collect.DatasetStats]:
    def look_at(folder: Path) -> collect.DatasetStats:
        staging = tmp_path / f"staging-{folder.name}"
        staging.mkdir()
        with Workers(1) as workers:
            return collect.annotation_stats(folder, ConvertOptions(), staging, workers, lambda *_: None)

    return look_at


def fingerprints(folder: Path) -> dict[Path, str]:
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_fix_copy_is_fixed_and_the_original_untouched(
    ill: Path, look: Callable[[Path], collect.DatasetStats], tmp_path: Path
) -> None:
    before, stats = fingerprints(ill), look(ill)
    assert {problem.code for problem in stats.problems} >= {
        *("box_outside", "box_empty", "corners_swapped", "format_not_as_named", "exif_turned", "image_undecodable")
    }
    made = fix.write_fixed_dataset(stats, tmp_path / "mended")
    assert fingerprints(ill) == before
    fixed = look(tmp_path / "mended")
    assert {problem.code for problem in fixed.problems} == {"set_not_listed"}
    assert (
        fix.FixedDataset(
            num_images=len(fixed.images) + len(fixed.unlisted),
            num_boxes=len(fixed.boxes.name),
            num_left_out=1,
            num_boxes_dropped=1,
            num_moved=1,
        )
        == made
    )
    assert len(fixed.images) == len(stats.images)
    assert {name: sorted(seen.image.filename for seen in part) for name, part in fixed.splits.items()}["val"] == [
        "JPEGImages/0.jpg"
    ]


def test_fix_lists_are_kept_and_images_of_no_chosen_list_too(
    ill: Path, look: Callable[[Path], collect.DatasetStats], tmp_path: Path
) -> None:
    (ill / "ImageSets" / "Main" / "later.txt").write_text("8\n3\n")
    write_image(ill / "8.jpg", 8)
    write_annotation(ill / "8.xml", BOXES)
    stats = look(ill)
    made = fix.write_fixed_dataset(stats, tmp_path / "mended")
    lists = tmp_path / "mended" / "ImageSets" / "Main"
    assert {path.stem: path.read_text().split() for path in lists.iterdir()} == {
        "train": [*"1234567", "copy", "lying", "turned"],
        "val": ["0"],
        "later": ["3", "8"],
    }
    fixed = look(tmp_path / "mended")
    assert sorted(seen.image.filename for seen in fixed.unlisted) == ["JPEGImages/0_2.jpg", "JPEGImages/8.jpg"]
    assert made.num_boxes_dropped == 2
    assert not (tmp_path / "mended" / fix.LABEL_MAP).exists()


def test_fix_division_by_fractions_is_written_down(
    ill: Path, look: Callable[[Path], collect.DatasetStats], tmp_path: Path
) -> None:
    lists = ill / "ImageSets" / "Main"
    (lists / "val.txt").rename(lists / "hard.txt")
    stats = look(ill)
    fix.write_fixed_dataset(stats, tmp_path / "mended")
    copied = tmp_path / "mended" / "ImageSets" / "Main"
    assert {path.stem for path in copied.iterdir()} == {"train", "val", "hard"}
    assert stats.chosen_lists is None
    assert {name: len(part) for name, part in look(tmp_path / "mended").splits.items()} == {
        name: len(part) for name, part in stats.splits.items()
    }


def test_fix_ids_of_classes_are_kept(look: Callable[[Path], collect.DatasetStats], tmp_path: Path) -> None:
    folder = tmp_path / "coco"
    for number in range(4):
        write_image(folder / f"{number}.jpg", number)
    content = {
        "images": [{"id": number, "file_name": f"{number}.jpg", "width": 96, "height": 64} for number in range(4)],
        "annotations": [{"id": n, "image_id": n, "category_id": 90, "bbox": [5, 6, 30, 40]} for n in range(4)],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "café"}],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    fix.write_fixed_dataset(look(folder), tmp_path / "mended")
    assert read_label_map(str(tmp_path / "mended" / fix.LABEL_MAP), source="") == {3: "café", 90: "toothbrush"}
    assert len(look(tmp_path / "mended").images) == 4


def test_fix_images_are_what_their_names_say_and_upright(
    ill: Path, look: Callable[[Path], collect.DatasetStats], tmp_path: Path
) -> None:
    stats = look(ill)
    fix.write_fixed_dataset(stats, tmp_path / "mended")
    images = tmp_path / "mended" / "JPEGImages"
    with Image.open(images / "lying.png") as lying, Image.open(images / "turned.jpg") as turned:
        assert lying.format == "PNG"
        assert (turned.size, turned.getexif().get(0x0112, 1)) == ((64, 96), 1)
    fixed = look(tmp_path / "mended")
    boxes = {
        seen.image.filename: [(obj.name, *obj.box, obj.difficult) for obj in seen.image.objects]
        for seen in fixed.images
    }
    assert boxes["JPEGImages/turned.jpg"] == [("cat", 5.0, 14.0, 40.0, 58.0, True)]
    assert boxes["JPEGImages/0.jpg"] == [("cat", 6.0, 5.0, 50.0, 40.0, True), ("dog", 0.0, 50.0, 60.0, 90.0, True)]


def test_fix_images_of_one_name_get_names_of_their_own(image: Callable) -> None:
    images = [image(name).image for name in ("a/x", "b/x", "b/X", "c/y.2")]
    assert fix._names(images) == ["x.jpg", "x_2.jpg", "X_3.jpg", "y.2.jpg"]


def test_fix_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OptionsError, match="empty or not there yet"):
        fix.check_output_folder(tmp_path)
    with pytest.raises(OptionsError, match="empty or not there yet"):
        fix.check_output_folder(tmp_path / "file")
    with pytest.raises(OptionsError, match="outside the images"):
        fix.check_output_folder(tmp_path / "mended", tmp_path)
    (tmp_path / "empty").mkdir()
    fix.check_output_folder(tmp_path / "empty", tmp_path / "photos")


@pytest.mark.parametrize("kind", ["link", "current folder"])
def test_fix_empty_folder_that_cannot_be_renamed_is_filled(
    ill: Path, look: Callable[[Path], collect.DatasetStats], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    target, place = tmp_path / "target", tmp_path / "place"
    place.mkdir()
    stats = look(ill)
    if kind == "link":
        target.symlink_to(place)
    else:
        monkeypatch.chdir(place)
        target = Path(".")
    fix.check_output_folder(target)
    fix.write_fixed_dataset(stats, target)
    assert {path.name for path in place.iterdir()} >= {"JPEGImages", "Annotations", "ImageSets"}
    assert not [path.name for path in place.iterdir() if path.name.startswith(".")]


def test_fix_failure_leaves_nothing(ill: Path, look: Callable[[Path], collect.DatasetStats], tmp_path: Path) -> None:
    stats = look(ill)
    (ill / "1.jpg").unlink()
    with pytest.raises(FileNotFoundError):
        fix.write_fixed_dataset(stats, tmp_path / "mended")
    assert [path.name for path in tmp_path.iterdir() if "mended" in path.name] == []


@pytest.mark.parametrize(("num_alike", "num_moved", "num_kept"), [(3, 3, 0), (8, 1, 7)])
def test_fix_near_duplicates_stay_where_validation_would_be_left_with_few(
    image: Callable, stats: Callable, num_alike: int, num_moved: int, num_kept: int
) -> None:
    train = [image("t", [("cat", 10, 10, 60, 60)], sha256="1", image_hash=0x0F0F_0F0F_F0F0_F0F0)]
    val = [
        image(f"v{n}", [("cat", 10, 10, 60, 60)], sha256=str(max(1, n + 1)), image_hash=0x0F0F_0F0F_F0F0_F0F0 ^ (n % 4))
        for n in range(num_alike)
    ] + [image(f"w{n}", sha256=str(100 + n)) for n in range(10 - num_alike)]
    sides, kept = fix._sides(stats(train, val))
    assert (sides.count("train") - 1, kept) == (num_moved, num_kept)
