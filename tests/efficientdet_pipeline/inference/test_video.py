"""Videos are read and written at their frame rate."""

import logging as standard_logging
import resource
from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.errors import CannotWriteError, DataError, DownloadError, MissingError, OptionsError
from efficientdet_pipeline.inference.video import Frame, VideoSink, VideoSource, detect_video
from efficientdet_pipeline.options.infer import InferOptions, is_video
from efficientdet_pipeline.options.schema import compose

RATE = 12.5


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "a.avi"
    path.parent.mkdir()
    sink = VideoSink(path, rate=RATE, size=(48, 64))
    for number in range(10):
        sink.write(np.full((48, 64, 3), 20 * number, np.uint8))
    sink.close()
    return path


def test_is_video_by_name() -> None:
    assert [is_video(name) for name in ("0", "rtsp://host/1", "a.MP4", "a.jpg", "folder")] == [True] * 3 + [False] * 2


def test_infer_options_without_effect_on_a_video_and_on_images() -> None:
    def idle(source: str) -> set[str]:
        options = compose(InferOptions, input_image=source, output_image_dir="out")
        return {"batch_size", "max_frames"} & options.without_effect().keys()

    assert (idle("a.mp4"), idle("photos")) == ({"batch_size"}, {"max_frames"})


def test_detect_video_keeps_rate_size_and_order(video: Path, tmp_path: Path) -> None:
    source = VideoSource(video)
    assert (source.rate, source.size, source.num_frames) == (RATE, (48, 64), 10)
    out = tmp_path / "out" / "drawn.mp4"
    out.parent.mkdir()

    def draw(frame: Frame) -> np.ndarray:
        assert frame.seconds == pytest.approx(frame.number / RATE)
        assert abs(float(frame.image.mean()) - 20 * frame.number) < 3
        return 255 - frame.image

    assert detect_video(source, draw, VideoSink(out, rate=source.rate, size=source.size)) == 10
    drawn = VideoSource(out)
    assert (drawn.rate, drawn.size) == (RATE, (48, 64))
    first = next(iter(drawn.frames()))
    assert first.image.mean() > 245
    assert sorted(path.suffix for path in out.parent.iterdir() if not path.name.startswith(".")) == [".mp4"]


def test_video_sink_keeps_the_earlier_video_if_the_disk_cannot_hold_the_frames(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.avi"
    sink = VideoSink(out, rate=RATE, size=(48, 64))
    sink.write(np.zeros((48, 64, 3), np.uint8))
    sink.close()
    earlier = out.read_bytes()
    sink = VideoSink(out, rate=RATE, size=(48, 64))
    for frame in VideoSource(video).frames():
        sink.write(frame.image)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # As on a full disk, which OpenCV does not report.
    try:
        with pytest.raises(CannotWriteError, match=r"out.avi must hold all 10 frames\. \d of them can be read back"):
            sink.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert out.read_bytes() == earlier
    assert not list(tmp_path.glob(".out.*"))


def test_video_source_says_where_a_file_ends_early(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, cut = tmp_path / "whole.avi", tmp_path / "cut.avi"
    sink = VideoSink(whole, rate=RATE, size=(96, 128))
    random = np.random.default_rng(0)
    for _ in range(10):
        sink.write(random.integers(0, 255, (96, 128, 3), np.uint8))
    sink.close()
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 3])
    source = VideoSource(cut)
    source.num_frames = 10  # The header is intact and states more frames.
    with caplog.at_level(standard_logging.WARNING):
        count = detect_video(source, lambda frame: frame.image, None)
    assert 0 < count < 9
    assert f"ends early: {count} of 10 frames" in caplog.text


def test_video_source_says_what_a_camera_a_stream_and_a_file_lack(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"camera 97 must be connected .* check its number"):
        VideoSource("97")
    with pytest.raises(
        DownloadError, match=r"stream http://\*\*\*@127.0.0.1:9/a must be reachable .* check the address"
    ):
        VideoSource("http://me:secret@127.0.0.1:9/a")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(DataError, match="Received 0 bytes without a readable frame"):
        VideoSource(tmp_path / "empty.mp4")


def test_detect_video_keeps_what_a_camera_gave_until_it_is_interrupted(video: Path, tmp_path: Path) -> None:
    def draw(frame: Frame) -> np.ndarray:
        if frame.number == 3:
            raise KeyboardInterrupt
        return frame.image

    def sink(name: str) -> VideoSink:
        return VideoSink(tmp_path / name, rate=RATE, size=(48, 64))

    source = VideoSource(video)
    with pytest.raises(KeyboardInterrupt):
        detect_video(source, draw, sink("file.mp4"))
    assert not (tmp_path / "file.mp4").exists()
    source = VideoSource(video)
    source.is_live = True
    assert detect_video(source, draw, sink("live.mp4")) == 3
    assert VideoSource(tmp_path / "live.mp4").num_frames == 3


def test_video_source_refuses(tmp_path: Path, video: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Similar names: .*a\.avi"):
        VideoSource(video.with_name("b.avi"))
    fake = tmp_path / "fake.mp4"
    fake.write_bytes(b"no video")
    with pytest.raises(DataError, match="must be a video"):
        VideoSource(fake)


def test_video_sink_refuses_foreign_files_and_unknown_forms(tmp_path: Path) -> None:
    (tmp_path / "mine.mp4").write_bytes(b"mine")
    with pytest.raises(OptionsError, match=r"output_video must name a file .*mine\.mp4 exists, and no call wrote it"):
        VideoSink(tmp_path / "mine.mp4", rate=5, size=(8, 8))
    with pytest.raises(OptionsError, match="must end in one of"):
        VideoSink(tmp_path / "x.txt", rate=5, size=(8, 8))
    assert (tmp_path / "mine.mp4").read_bytes() == b"mine"


def test_detect_video_leaves_nothing_where_drawing_fails(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "x.mp4"
    out.parent.mkdir()

    def fails(frame: Frame) -> np.ndarray:
        raise DataError(f"frame {frame.number}")

    with pytest.raises(DataError, match="frame 0"):
        detect_video(VideoSource(video), fails, VideoSink(out, rate=5, size=(48, 64)))
    assert not [path for path in out.parent.iterdir() if path.suffix == ".mp4"]
