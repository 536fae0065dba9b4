"""Images of shards by source id; None for missing or changed images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from efficientdet_pipeline.data.record_images import RecordImages


def test_record_images_are_those_of_their_source_ids(
    write_shards: Callable[..., Any], image: Callable[..., Any]
) -> None:
    files = write_shards([image(1), image(2)], [image(3)])
    images = RecordImages(files, {"1": 0, "2": 1, "3": 2, "5": 1, "6": 9})
    for number in (1, 2, 3):
        pixels = images(str(number))
        assert pixels is not None
        assert pixels.shape == (24, 32, 3)
        assert (pixels[..., 0] == number).all()
    assert images("5") is None
    assert images("6") is None
    assert images("unknown") is None
    Path(files[0]).unlink()
    assert not images.are_there
    assert images("3") is None
    assert not RecordImages((), {}).are_there
