"""int8 TFLite files with learnt ranges."""

from pathlib import Path

import numpy as np
import pytest
from tiny_network import tiny_network

from efficientdet_pipeline.compression.fake_quantization import QuantizedNetwork
from efficientdet_pipeline.export.formats import TFLITE
from efficientdet_pipeline.export.tflite_file import read_model
from efficientdet_pipeline.export.tflite_learnt import agreement, quantized_network
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.inference.canvas import normalized

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["efficientdet-lite0", pytest.param("efficientdet-d0", marks=pytest.mark.slow)])
def test_write_learnt_int8_computes_what_the_fake_quantized_network_computes(name: str, tmp_path: Path) -> None:
    network = tiny_network(name)
    random = np.random.default_rng(1)
    for variable in network.variables:
        if variable.name == "gamma":
            variable.assign(random.uniform(0.8, 1.6, variable.shape))
        elif "predict" in variable.path:
            variable.assign(variable.value * (30 if "kernel" in variable.name else 0))
    quantized = QuantizedNetwork(network, (64, 64))
    for _ in range(3):
        quantized.calibrate(normalized(IMAGES.astype("float32"), network.config))
    ranges = tmp_path / "ranges.json"
    quantized.save_ranges(ranges)
    detector = TrainedDetector(
        model=network, config=network.config, label_map={1: "a", 2: "b"}, calibration=list(IMAGES), learnt_ranges=ranges
    )
    path = tmp_path / "int8.tflite"
    TFLITE["int8"].write(detector, path)
    found = agreement(detector, quantized_network(detector, ranges), path.read_bytes())
    assert found.within_one >= 0.999, found
    graph = read_model(path.read_bytes()).subgraphs[0]
    assert [graph.tensors[index].name for index in graph.outputs] == [b"logits", b"deltas"]
    floats = [tensor for tensor in graph.tensors if tensor.type == 0]
    # Pixels before they are rounded, and the two outputs.
    assert len(floats) <= 8
