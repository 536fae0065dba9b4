"""Tests of the conversion to tfdet's records, and of its errors."""

import io
from pathlib import Path

import pytest
from PIL import Image

from tfrmod.errors import DatasetError
from tfrmod.example import decode_example
from tfrmod.round_robin_records import convert_dataset_to_tfrecord
from tfrmod.tfrecord_io import read_records


def image_file(folder: Path, name: str, orientation: int = 1) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = folder / name
    Image.new("RGB", (40, 20), (200, 10, 10)).save(path, **({"exif": exif} if name.endswith("jpg") else {}))
    return path


def entry(path: Path, *boxes: list, class_id: int = 0) -> dict:
    return {"image_path": str(path), "bboxes": list(boxes), "labels": [{"id": class_id, "name": "cat"} for _ in boxes]}


def test_round_robin_records_convert_dataset_writes_in_turn(tmp_path: Path) -> None:
    files = [image_file(tmp_path, f"{index}.{ending}") for index, ending in enumerate(["jpg", "png", "bmp", "jpg"])]
    entries = [entry(path, [0, 10, 10, 40], class_id=index) for index, path in enumerate(files[:3])] + [entry(files[3])]
    before = [dict(one) for one in entries]
    infos = convert_dataset_to_tfrecord(entries, num_shards=3, output_dir=tmp_path / "records")
    assert entries == before
    assert [info.name for info in infos] == [f"00000{index}-of-000003.tfrecord" for index in range(3)]
    assert [info.num_images for info in infos] == [2, 1, 1]
    images = [[decode_example(record) for record in read_records(tmp_path / "records" / info.name)] for info in infos]
    assert [[image.filename for image in shard] for shard in images] == [["0.jpg", "3.jpg"], ["1.png"], ["2.bmp"]]
    # The format is that of the bytes.
    assert [Image.open(io.BytesIO(image.encoded)).format.lower() for shard in images for image in shard] == [
        image.format for shard in images for image in shard
    ]
    assert images[0][0].format == "jpeg"
    assert images[1][0].format == "png"
    first = images[0][0]
    assert (first.height, first.width) == (20, 40)
    assert first.objects[0].box == pytest.approx((0, 10, 10, 40))
    assert [image.objects[0].class_id for image in (images[0][0], images[1][0], images[2][0])] == [0, 1, 2]
    assert images[0][1].objects == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bboxes": [[0, 30, 10, 50]]}, "20 high and 40 wide. Received .* are its corners in another order"),
        ({"bboxes": [[10, 0, 5, 9]]}, "Boxes must be ymin, xmin, ymax, xmax"),
        ({"bboxes": [[1, 2, 3]]}, "a box must be ymin, xmin, ymax, xmax"),
        ({"labels": []}, "It has 1 box, 0 labels and 1 mask"),
        ({"labels": [{"id": -1, "name": "a"}]}, "a label must be"),
        ({"labels": [{"id": 1}]}, "a label must be"),
        ({"label": []}, "must have image_path, bboxes and labels, and may have masks"),
        ({"image_path": "none.jpg"}, r"No image none.jpg"),
    ],
)
def test_round_robin_records_convert_dataset_refuses_and_leaves_nothing(
    tmp_path: Path, changes: dict, message: str
) -> None:
    good, bad = (entry(image_file(tmp_path, name), [0, 0, 9, 9]) for name in ("good.jpg", "bad.jpg"))
    with pytest.raises(DatasetError, match=message):
        convert_dataset_to_tfrecord([good, bad | changes], 2, tmp_path / "records")
    assert not list((tmp_path / "records").glob("*"))


def test_round_robin_records_convert_dataset_refuses_files_and_numbers(tmp_path: Path) -> None:
    good = entry(image_file(tmp_path, "good.jpg"), [0, 0, 9, 9])
    convert_dataset_to_tfrecord([good], 1, tmp_path)
    with pytest.raises(DatasetError, match="exists already and is not replaced"):
        convert_dataset_to_tfrecord([good], 1, tmp_path)
    for number in (0, 2, True):
        with pytest.raises(DatasetError, match="num_shards must be 1 to 1"):
            convert_dataset_to_tfrecord([good], number, tmp_path / "other")
    rotated = entry(image_file(tmp_path, "rotated.jpg", orientation=6), [0, 0, 9, 9])
    with pytest.raises(DatasetError, match="is stored rotated"):
        convert_dataset_to_tfrecord([rotated], 1, tmp_path / "other")
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"broken.jpg cannot be used"):
        convert_dataset_to_tfrecord([entry(tmp_path / "broken.jpg")], 1, tmp_path / "other")
