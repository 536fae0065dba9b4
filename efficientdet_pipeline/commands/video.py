"""--mode=video: a video with the drawn detections of a video, camera or stream."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from absl import logging
from tqdm import tqdm

from efficientdet_pipeline.console import is_terminal
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.inference.detector import LoadedDetector, load_detector
from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.inference.sinks import SinkWriter, build_sinks
from efficientdet_pipeline.inference.video import Frame, VideoSink, VideoSource, detect_video
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.infer import DrawingOptions, InferOptions, VideoOptions
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.visualize.boxes import draw_detections
from tfrmod.counted import counted

Draw = Callable[[np.ndarray, ImageDetections], np.ndarray]


def run(options: VideoOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Writes a video with the detections in the video that the options name."""
    del read
    source = VideoSource(options.input_video)
    detector = load_detector(options, hparams)
    place = Path(options.output_video).expanduser()
    sink = VideoSink(place, rate=source.rate, size=source.size)
    draw = drawing(options.drawing, detector.label_map)
    _detect(source, detector, sink, draw, None, max_frames=options.max_frames)
    logging.info("video         %s", place)


def infer_video(options: InferOptions, hparams: HparamsGiven) -> None:
    """Writes the detections in the frames of a video, camera or stream, in the formats that the options name."""
    source = VideoSource(options.input_image)
    folder, option = Path(options.output_image_dir).expanduser(), "output_image_dir"
    detector = load_detector(options, hparams)
    draw = drawing(options.drawing, detector.label_map)
    sinks = build_sinks(options.result_names(), detector.label_map, draw, is_video=True)
    video = None
    if "images" in options.result_names():
        place = folder / f"{source.stem}.mp4"
        video = VideoSink(place, rate=source.rate, size=source.size, option=option)
    try:
        writer = SinkWriter(folder, sinks, thresholds=detector.thresholds)
    except OptionsError:
        if video is not None:
            video.discard()
        raise
    _detect(source, detector, video, draw, writer, max_frames=options.max_frames)
    writer.close()
    logging.info("%s in %s", ", ".join(options.result_names()), folder)


def _detect(
    source: VideoSource,
    detector: LoadedDetector,
    sink: VideoSink | None,
    draw: Draw,
    writer: SinkWriter | None,
    *,
    max_frames: int,
) -> None:
    began = time.perf_counter()

    def drawn(frame: Frame) -> np.ndarray:
        nonlocal began
        if frame.number == 1:  # The first frame includes compilation.
            began = time.perf_counter()
        found = detector.detect(frame.image)
        if writer is not None:
            writer.write_frame(source.name, frame.number, frame.image, found)
        progress.update()
        return frame.image if sink is None else draw(frame.image, detector.thresholds.above(found))

    expected = min(max_frames or source.num_frames, source.num_frames or max_frames)
    with tqdm(total=expected or None, unit="frame", leave=False, disable=not is_terminal()) as progress:
        count = detect_video(source, drawn, sink, max_frames=max_frames or None)
    rate = max(1, count - 1) / (time.perf_counter() - began)
    logging.info("%s, %.1f frames per second after the first one.", counted(count, "frame"), rate)


def drawing(options: DrawingOptions, label_map: Mapping[int, str]) -> Draw:
    """Returns a function that draws the best detections on an image."""

    def draw(image: np.ndarray, found: ImageDetections) -> np.ndarray:
        shown = slice(options.max_boxes_to_draw)
        return draw_detections(
            image,
            found.boxes[shown],
            found.class_ids[shown],
            found.scores[shown],
            label_map=label_map,
            line_thickness=options.line_thickness,
        )

    return draw
