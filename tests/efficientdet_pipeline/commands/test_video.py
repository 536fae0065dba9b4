"""--mode=video, and --mode=infer on a video."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.errors import ExitCode
from efficientdet_pipeline.inference.video import VideoSink, VideoSource

pytestmark = pytest.mark.usefixtures("video")


@pytest.fixture
def video(main: Callable[..., int], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    sink = VideoSink(tmp_path / "in" / "a.avi", rate=12.5, size=(48, 64))
    for number in range(6):
        sink.write(np.full((48, 64, 3), 40 * number, np.uint8))
    sink.close()


def test_video_draws_into_a_video_of_the_same_rate(main: Callable[..., int], toy_run: Path, tmp_path: Path) -> None:
    common = ("--mode=video", f"--path_ckpt={toy_run}", "--input_video=in/a.avi", "--min_score_thresh=0")
    assert main(*common, "--output_video=out/b.mp4", "--line_thickness=3", "--max_frames=4") == 0
    drawn = VideoSource(tmp_path / "out" / "b.mp4")
    assert (drawn.rate, drawn.size) == (12.5, (48, 64))
    frames = list(drawn.frames())
    assert len(frames) == 4
    assert frames[0].image.std() > 5
    (tmp_path / "mine.mp4").write_bytes(b"mine")
    assert main(*common, "--output_video=mine.mp4") == ExitCode.OPTIONS
    assert (tmp_path / "mine.mp4").read_bytes() == b"mine"


def test_infer_writes_the_frames_of_a_video(main: Callable[..., int], toy_run: Path, tmp_path: Path) -> None:
    common = ("--mode=infer", f"--path_ckpt={toy_run}", "--input_image=in/a.avi", "--output_image_dir=out")
    for _ in range(2):
        assert main(*common, "--results=images,json", "--max_frames=3") == 0
    assert {path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."} == {"a.mp4", "detections.json"}
    records = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [record["image"] for record in records] == ["a.avi#0", "a.avi#1", "a.avi#2"]
    assert main(*common, "--results=voc", "--max_frames=2") == 0
    names = {path.name for path in (tmp_path / "out" / "annotations").glob("*.xml")}
    assert names == {"a_000000.xml", "a_000001.xml"}
