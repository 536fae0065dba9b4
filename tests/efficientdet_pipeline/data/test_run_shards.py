"""The shards of a run, and images spread over them."""

from collections.abc import Callable
from pathlib import Path

from efficientdet_pipeline.data.run_shards import run_shards, spread_images
from efficientdet_pipeline.runs.run_dir import RunFolder


def folder_of(path: Path) -> RunFolder:
    return RunFolder(path, path / "export", path / "tfrecords", path)


def test_run_shards_are_those_that_the_run_made(toy_run: Path) -> None:
    for split in ("train", "val"):
        files, made = run_shards(folder_of(toy_run), split)
        assert files
        assert all(path.is_file() and path.name.startswith(split) for path in files)
        assert made is not None


def test_run_shards_are_those_that_the_run_was_given(tmp_path: Path, write_shards: Callable, image: Callable) -> None:
    assert run_shards(folder_of(tmp_path), "train") == ((), None)
    (path,) = write_shards([image(1)])
    (tmp_path / "args.yaml").write_text(f"train_file_pattern: {path}\n")
    files, made = run_shards(folder_of(tmp_path), "train")
    assert [str(each) for each in files] == [path]
    assert made is None
    assert run_shards(folder_of(tmp_path), "val") == ((), None)


def test_spread_images_are_evenly_spaced(write_shards: Callable, image: Callable) -> None:
    files = write_shards([image(number) for number in range(6)], [image(number) for number in range(6, 11)])
    assert [int(pixels[0, 0, 0]) for pixels in spread_images(files, 3)] == [0, 5, 10]
    assert len(spread_images(files, 99)) == 11
