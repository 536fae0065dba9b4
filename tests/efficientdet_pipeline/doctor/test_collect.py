"""Statistics of images and of records, complete and sampled."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efficientdet_pipeline.doctor import collect, run_checks
from tfrmod import convert
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.convert_options import ConvertOptions
from tfrmod.errors import DatasetError
from tfrmod.example import encode_example
from tfrmod.tfrecord_io import write_records
from tfrmod.workers import Workers


def jpeg(seed: int = 0, *, orientation: int = 1) -> bytes:
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(blocks).resize((96, 64), Image.Resampling.NEAREST).save(out, "JPEG", exif=exif)
    return out.getvalue()


def xml(name: str, *box: int) -> str:
    sides = "".join(f"<{key}>{side}</{key}>" for key, side in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<annotation><object><name>{name}</name><bndbox>{sides}</bndbox></object></annotation>"


def write_voc(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def look(folder: Path, staging: Path, **options: object) -> collect.DatasetStats:
    staging.mkdir(exist_ok=True)
    with Workers(1) as workers:
        return collect.annotation_stats(folder, ConvertOptions(**options), staging, workers, lambda *_: None)


def record(name: str, *objects: tuple, encoded: bytes | None = None, size: tuple[int, int] = (64, 96)) -> bytes:
    objects = tuple(AnnotatedObject(f"class{obj[0]}", obj[1:5], obj[0]) for obj in objects)
    image = AnnotatedImage(
        filename=name, objects=objects, height=size[0], width=size[1], encoded=encoded or jpeg(), format="jpeg"
    )
    return encode_example(image)


def look_at_records(files: dict[str, list[Path]]) -> collect.DatasetStats:
    with Workers(1) as workers:
        return collect.record_stats(files, workers, lambda *_: None)


@pytest.fixture
def shard(tmp_path: Path) -> Callable[..., Path]:
    def write(*records: bytes, name: str = "train-00000-of-00001.tfrecord") -> Path:
        write_records(tmp_path / name, records)
        return tmp_path / name

    return write


def test_collect_images_are_seen_as_a_conversion_sees_them(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {}
    for number in range(10):
        files |= {f"{number}.jpg": jpeg(number), f"{number}.xml": xml("cat", 5, 6, 40, 50)}
    files |= {"wide.jpg": jpeg(20), "wide.xml": xml("cta", 5, 5, 500, 50), "torn.jpg": jpeg()[:300]}
    files |= {"torn.xml": xml("cat", 5, 5, 9, 9), "bare.jpg": jpeg(21)}
    stats = look(write_voc(tmp_path / "data", files), tmp_path / "staging")
    assert {name: len(part) for name, part in stats.splits.items()} == {"train": 9, "val": 2}
    assert (stats.num_files, len(stats.images), len(stats.boxes.name)) == (12, 11, 11)
    codes = {problem.code for problem in stats.problems}
    assert codes == {"box_outside", "image_undecodable", "image_without_annotation", "class_spelling"} - (
        set() if "class_spelling" in codes else {"class_spelling"}
    )
    assert all(seen.image_hash is not None and seen.image.sha256 for seen in stats.images)
    box = stats.boxes.corners[[stats.file(image) for image in stats.boxes.image_index].index("wide.jpg")]
    np.testing.assert_allclose(box, [5, 5, 50, 96])


def test_collect_aliases_are_applied_before_anything_is_counted(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {"a.jpg": jpeg(1), "a.xml": xml("Cat", 5, 6, 40, 50), "b.jpg": jpeg(2)}
    folder = write_voc(tmp_path / "data", files | {"b.xml": xml("cat", 5, 6, 40, 50)})
    assert look(folder, tmp_path / "one").boxes_per_class() == {"Cat": 1, "cat": 1}
    assert look(folder, tmp_path / "two", label_aliases={"Cat": "cat"}).boxes_per_class() == {"cat": 2}


def test_collect_no_data_set_is_logged(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        look(tmp_path / "none", tmp_path / "staging")


def test_collect_records_hold_what_images_hold(shard: Callable[..., Path]) -> None:
    path = shard(record("a.jpg", (1, 5.0, 6.0, 40.0, 50.0)), record("b.jpg"), record("c.jpg", encoded=b"nothing"))
    stats = look_at_records({"train": [path]})
    assert [seen.image.filename for seen in stats.images] == ["a.jpg", "b.jpg"]
    np.testing.assert_allclose(stats.boxes.corners, [[5, 6, 40, 50]], atol=1e-4)
    assert (stats.class_ids, stats.num_files) == ({1: "class1"}, 3)
    assert [problem.code for problem in stats.problems] == ["image_undecodable"]
    assert stats.images[0].image.encoded == b""


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (record("a.jpg", (1, 500.0, 600.0, 4000.0, 5000.0)), "boxes_not_unit"),
        (record("a.jpg", (1, 5.0, 6.0, 40.0, 120.0)), "box_outside"),
        (record("a.jpg", (1, 5.0, 6.0, 5.0, 50.0)), "box_empty"),
        (record("a.jpg", encoded=jpeg(orientation=6)), "record_rotated"),
        (record("a.jpg", size=(640, 960)), "image_size_differs"),
        (b"no example", "record_unreadable"),
    ],
)
def test_collect_what_is_wrong_with_a_record(shard: Callable[..., Path], bad: bytes, code: str) -> None:
    stats = look_at_records({"train": [shard(record("good.jpg", (1, 5.0, 6.0, 40.0, 50.0)), bad)]})
    assert [problem.code for problem in stats.problems] == [code]


def test_collect_records_without_names_go_by_their_place(shard: Callable[..., Path]) -> None:
    path = shard(record("", (3, 5.0, 6.0, 40.0, 50.0)).replace(b"class3", b"      "))
    (seen,) = look_at_records({"train": [path]}).images
    assert seen.image.filename == "train-00000-of-00001.tfrecord record 0"


def test_collect_quick_look_reads_a_part_and_decodes_nothing(shard: Callable[..., Path]) -> None:
    broken = [record(f"{number}.jpg", (1, 5.0, 6.0, 40.0, 50.0), encoded=b"x") for number in range(8)]
    one = shard(*broken[:5], name="train-00000-of-00002.tfrecord")
    two = shard(*broken[5:], name="train-00001-of-00002.tfrecord")
    part = collect.sampled_record_stats({"train": [one, two], "val": []}, 4)
    assert (part.is_sample, part.problems) == (True, [])
    assert {seen.image.filename for seen in part.images} >= {"0.jpg", "1.jpg", "5.jpg", "6.jpg"}
    assert collect.sampled_record_stats({"train": [one, two]}, 100).is_sample is False


def test_collect_leaks_are_as_many_as_the_conversion_counts(plan: Callable, tmp_path: Path) -> None:
    plain = io.BytesIO()
    Image.new("RGB", (96, 64), "gray").save(plain, "PNG")  # Has no features for the hash, but equals its copy.
    images = {f"train{number}": jpeg(number) for number in range(6)} | {"train6": plain.getvalue()}
    resaved = io.BytesIO()
    Image.open(io.BytesIO(jpeg(1))).save(resaved, "JPEG", quality=60)
    images |= {
        "val0": jpeg(0),
        "val1": resaved.getvalue(),
        "val2": plain.getvalue(),
        "val3": jpeg(50),
        "val4": jpeg(51),
    }
    files: dict[str, bytes | str] = {}
    for name, content in images.items():
        files |= {f"{name}.jpg": content, f"{name}.xml": xml("cat", 5, 6, 40, 50)}
    for part in ("train", "val"):
        files[f"ImageSets/Main/{part}.txt"] = "".join(f"{name}\n" for name in images if name.startswith(part))
    folder = write_voc(tmp_path / "data", files)
    stats = look(folder, tmp_path / "staging")
    by_code = {each.code: each.count for each in run_checks.check_splits(stats, plan()) if each is not None}
    converted = convert.convert(folder, tmp_path / "shards", ConvertOptions(num_workers=1))
    assert (by_code["leak"], by_code["leak_alike"]) == (2, 1)
    assert converted.problems["split_leak"].count == 3
