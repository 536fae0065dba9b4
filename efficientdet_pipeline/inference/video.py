"""Frames of videos, cameras and streams, and videos of drawn detections at the same frame rate."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from efficientdet_pipeline.errors import (
    CannotWriteError,
    DataError,
    DownloadError,
    MissingError,
    OptionsError,
    PipelineError,
)
from efficientdet_pipeline.inference.extras import import_extra
from efficientdet_pipeline.inference.image_io import similar_names
from efficientdet_pipeline.options.infer import STREAMS
from efficientdet_pipeline.runs.output_files import check_output_files, note_output_files
from tfrmod.counted import counted
from tfrmod.urls import redact_url

_DEFAULT_RATE = 25.0
_OUTPUT_VIDEO = "output_video"
_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}


class Frame(NamedTuple):
    """One frame of a video."""

    number: int
    """Frame number, from 0."""
    seconds: float
    """Seconds since the start, by the frame rate."""
    image: np.ndarray
    """uint8 RGB (h, w, 3)."""


class VideoSource:
    """An opened video file, camera (by number), or stream (by URL).

    Args:
      source: path, number or URL.

    Raises:
      FileNotFoundError: the file does not exist.
      MissingError: there is no such camera.
      DownloadError: the stream cannot be reached.
      DataError: the file is not a video, or has no readable frame.
    """

    def __init__(self, source: str | Path) -> None:
        if not str(source).startswith(STREAMS):
            source = Path(source).expanduser()
        self.name = redact_url(str(source)) if str(source).startswith(STREAMS) else str(source)
        stem = re.sub(r"[^\w.-]+", "-", Path(self.name).stem) or "stream"
        self.stem = f"camera{stem}" if self.name.isdecimal() else stem
        """Stem of its result files."""
        self._cv2 = import_extra("cv2", purpose="Reading a video")
        self.is_live = str(source).isdecimal() or str(source).startswith(STREAMS)
        """Whether it is a camera or a stream, whose end is not known."""
        if not self.is_live and not Path(source).is_file():
            raise FileNotFoundError(f"The video {source} does not exist.{similar_names(Path(source))}")
        self._capture = self._cv2.VideoCapture(int(str(source)) if str(source).isdecimal() else str(source))
        is_read, first = self._capture.read() if self._capture.isOpened() else (False, None)
        if not is_read or first is None:
            self._capture.release()
            raise self._unreadable()
        self._first = first
        rate = float(self._capture.get(self._cv2.CAP_PROP_FPS))
        self.has_rate = bool(np.isfinite(rate)) and 0.0 < rate < 1000.0
        self.rate = rate if self.has_rate else _DEFAULT_RATE
        """Frames per second; 25 if the source does not state it."""
        self.num_frames = 0 if self.is_live else max(0, int(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT)))
        """Number of frames according to the header; 0 if not stated."""
        self.size: tuple[int, int] = (int(first.shape[0]), int(first.shape[1]))
        """Height and width in pixels."""
        self.num_read = 0
        """Number of frames read."""

    def _unreadable(self) -> PipelineError:
        if self.name.isdecimal():
            return MissingError(
                f"The camera {self.name} must be connected and give images. It gives none: check its number (0 is the "
                "first camera), that this user may read it, and that no other program uses it."
            )
        if self.is_live:
            return DownloadError(
                f"The stream {self.name} must be reachable and give images. It gives none: check the address, the "
                "user name and password in it, and the network, for example by a player."
            )
        size = Path(self.name).stat().st_size
        return DataError(
            f"{self.name} must be a video that OpenCV can read. Received {size:,} bytes without a readable frame; "
            "check it with a player, or convert it to MP4 (H.264)."
        )

    def frames(self) -> Iterator[Frame]:
        """Yields the frames, and warns if a file has fewer than its header states."""
        image = self._first
        try:
            while image is not None:
                pixels = self._cv2.cvtColor(image, self._cv2.COLOR_BGR2RGB)
                yield Frame(self.num_read, self.num_read / self.rate, pixels)
                self.num_read += 1
                is_read, image = self._capture.read()
                image = image if is_read else None
        finally:
            self._capture.release()
        if self.num_read < self.num_frames - 1:
            logging.warning(
                "%s ends early: %d of %d frames are readable; it may be damaged or truncated.",
                self.name,
                self.num_read,
                self.num_frames,
            )


class VideoSink:
    """Writes frames as a video, atomically; replaces only a video of an earlier call.

    Args:
      path: of the video; its folder records the file name.
      rate: frames per second.
      size: height and width in pixels.
      option: option that names the path, for messages.

    Raises:
      OptionsError: an unrelated file has the same name, or the name is not that of a video.
      CannotWriteError: OpenCV cannot write this video.
    """

    def __init__(self, path: Path, *, rate: float, size: tuple[int, int], option: str = _OUTPUT_VIDEO) -> None:
        codec = _CODECS.get(path.suffix.lower())
        if codec is None:
            raise OptionsError(
                f"{option} must end in one of {' '.join(_CODECS)}. Received {path}; try {path.with_suffix('.mp4')}.",
                option=option,
            )
        cv2 = import_extra("cv2", purpose="Writing a video")
        self._cv2: Any = cv2
        self._path, self._size, self._num_written = path, size, 0
        if path.is_dir():
            raise OptionsError(
                f"{option} must be a file. Received the folder {path}; try {path / 'video.mp4'}.", option=option
            )
        if option == _OUTPUT_VIDEO:
            earlier = _check_output_file(path, option=option)
        else:
            earlier = check_output_files(path.parent, [path.name], option=option)
        note_output_files(path.parent, [path.name], earlier)
        self._partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
        self._writer = cv2.VideoWriter(str(self._partial), cv2.VideoWriter_fourcc(*codec), rate, (size[1], size[0]))
        if not self._writer.isOpened():
            raise CannotWriteError(
                f"{path} cannot be written as a video of {size[1]}x{size[0]} px at {rate:g} frames per second; choose "
                "a name that ends in .mp4 or .avi, in a folder that can be written."
            )

    def write(self, image: np.ndarray) -> None:
        """Writes one frame, uint8 RGB (h, w, 3), resized to the size of the first one."""
        if image.shape[:2] != self._size:
            image = self._cv2.resize(image, (self._size[1], self._size[0]))
        self._writer.write(self._cv2.cvtColor(np.ascontiguousarray(image), self._cv2.COLOR_RGB2BGR))
        self._num_written += 1

    def close(self) -> None:
        """Completes the video and renames it to its path.

        Raises:
          CannotWriteError: it does not hold the frames that were written; an existing video is then unchanged.
        """
        self._writer.release()
        num_kept = self._num_kept()  # OpenCV does not say that it could not write.
        if num_kept < self._num_written:
            self.discard()
            raise CannotWriteError(
                f"{self._path} must hold all {self._num_written} frames. {num_kept} of them can be read back; free "
                "some space on its disk, or choose a folder on another one."
            )
        self._partial.replace(self._path)

    def _num_kept(self) -> int:
        video = self._cv2.VideoCapture(str(self._partial))
        count = 0
        while video.grab():
            count += 1
        video.release()
        return count

    def discard(self) -> None:
        """Deletes the unfinished video."""
        self._writer.release()
        self._partial.unlink(missing_ok=True)


def _check_output_file(path: Path, *, option: str) -> set[str]:
    """Checks that a file does not exist, or was written by an earlier call; returns such files of its folder.

    Raises:
      OptionsError: the file is unrelated.
    """
    earlier = check_output_files(path.parent, (), option=option)
    if path.name not in earlier and (path.exists() or path.is_symlink()):
        raise OptionsError(
            f"{option} must name a file that does not exist, or that an earlier call wrote. {path} exists, and no call "
            "wrote it; choose another name, or move it away.",
            option=option,
        )
    return earlier


def detect_video(
    source: VideoSource, draw: Callable[[Frame], np.ndarray], sink: VideoSink | None, *, max_frames: int | None = None
) -> int:
    """Draws detections on the frames of a source, writes them, and returns their number.

    Ctrl-C is the end of a camera or a stream.

    Args:
      draw: from a frame to the drawn frame.
      sink: output of the frames; None for none. The video is completed also if
        the source ends early, and deleted if drawing fails.
      max_frames: limit for sources without an end.
    """
    count = 0
    try:
        for frame in source.frames():
            drawn = draw(frame)
            if sink is not None:
                sink.write(drawn)
            count += 1
            if count == max_frames:
                break
    except BaseException as error:
        if not (source.is_live and count and isinstance(error, KeyboardInterrupt)):
            if sink is not None:
                sink.discard()
            raise
        logging.info("Stopped by Ctrl-C after %s.", counted(count, "frame"))
    if sink is not None:
        sink.close()
    return count
