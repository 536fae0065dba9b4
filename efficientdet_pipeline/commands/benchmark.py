"""--mode=benchmark: measure training speed and find the bottleneck, or the latency of a trained detector."""

import importlib
import json
import tempfile
from functools import partial
from pathlib import Path

from efficientdet_pipeline.console import silent_native_log
from efficientdet_pipeline.data.dataset_info import find_shards, shards_identity
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.models.build import network_of_options
from efficientdet_pipeline.options.benchmark import BenchmarkOptions
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.runs.output_files import check_output_json
from efficientdet_pipeline.runs.run_dir import RunFolder
from tfrmod import fileio

WHAT = {
    "loader": "loader:measure_loader",
    "train": "training:benchmark_training",
    "latency": "artifact_latency:benchmark_latency",
}
"""Subject → module and function in benchmarking: (options, shards, network, folder) → results, which it also prints;
for a trained detector (options, hparams) → results."""


FIELDS = {"loader": {"speeds", "cpu_ms"}, "train": {"sweep", "conclusion"}, "latency": {"latencies", "plan"}}
"""Subject → fields of its results in JSON."""


def run(options: BenchmarkOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Runs the benchmark, prints the results, and writes them to a file."""
    del read
    if options.output:
        check_output_json(Path(options.output), FIELDS[options.what], option="output")
        _check_picture(options)
    figures = _measured(options, hparams)
    if options.output:
        fileio.write_file(Path(options.output), json.dumps(figures, indent=2) + "\n")


def _check_picture(options: BenchmarkOptions) -> None:
    """Raises OptionsError if the chart would replace an unrelated file beside its JSON file."""
    output = Path(options.output)
    picture = output.with_suffix(".png")
    if options.what == "latency" and (output == picture or (picture.exists() and not output.exists())):
        raise OptionsError(
            f"output must name a JSON file without an unrelated {picture.name} beside it. Received "
            f"{options.output!r}; try "
            "latency.json in another folder.",
            option="output",
        )


def _measured(options: BenchmarkOptions, hparams: HparamsGiven) -> dict[str, object]:
    module, function = WHAT[options.what].split(":")
    with silent_native_log(unless=options.general.debug):
        measure = getattr(importlib.import_module(f"efficientdet_pipeline.benchmarking.{module}"), function)
    if options.what == "latency":
        return measure(options, hparams)
    training = options.training
    network_of = partial(network_of_options, training.model, hparams, backbone_ref=training.pretrained.backbone_ref)
    height, width = network_of().image_size
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch)
        folder = RunFolder(
            path=path, export_path=path / "export", records_path=path / "tfrecords", metadata_folder=path
        )
        size = width if width == height else f"{width}x{height}"
        shards = find_shards(training, folder, shards_identity(training), size, hparams)
        network = network_of(num_classes=shards.num_classes, label_map=shards.label_map)
        return measure(options, shards, network, path)
