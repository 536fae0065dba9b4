"""Options of --mode=benchmark --what=latency."""

import re
from dataclasses import dataclass

from efficientdet_pipeline.options.evaluation import CheckpointOptions
from efficientdet_pipeline.options.schema import Options, check, option
from efficientdet_pipeline.options.values import positive_numbers


@dataclass(frozen=True, kw_only=True)
class LatencyOptions(Options):
    """Latency of a detector."""

    checkpoint: CheckpointOptions
    artifacts: str = option(
        "",
        "Folder of an export to measure with what=latency, or artifacts, comma-separated, also those of google/automl. "
        "Default: the run's export, beside its checkpoint.",
        path="globs",
    )
    thread_counts: str = option(
        "",
        "Comma-separated numbers of threads to measure TFLite, ONNX and OpenVINO with, such as 1,2; a single number "
        "limits "
        "TensorFlow as well. Default: chosen by each runtime.",
    )
    latency_image: str = option("640x480", "WIDTHxHEIGHT in pixels of the images that latency is measured with.")
    warmup: int = option(3, "Number of warm-up calls of each artifact.")

    def __post_init__(self) -> None:
        """Checks the size, the threads and the calls."""
        super().__post_init__()
        is_size = re.fullmatch(r"[1-9]\d*x[1-9]\d*", self.latency_image) is not None
        check(is_size, "latency_image", self.latency_image, "WIDTHxHEIGHT in pixels", "try 640x480")
        check(self.warmup >= 1, "warmup", self.warmup, "at least 1", "try 3")
        self.threads()

    def threads(self) -> tuple[int, ...]:
        """Returns the numbers of threads, ascending; empty if each runtime chooses."""
        return positive_numbers("thread_counts", self.thread_counts, example="1,2") if self.thread_counts else ()

    @property
    def image_size(self) -> tuple[int, int]:
        """Returns height and width of the images."""
        width, height = map(int, self.latency_image.split("x"))
        return height, width
