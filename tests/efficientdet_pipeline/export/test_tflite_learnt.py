"""int8 TFLite files with learnt ranges."""

from pathlib import Path

import numpy as np
import pytest
from tiny_network import tiny_network
from trained_like import take_statistics

from efficientdet_pipeline.compression.fake_quantization import QuantizedNetwork
from efficientdet_pipeline.compression.pruning import prune
from efficientdet_pipeline.export.formats import TFLITE
from efficientdet_pipeline.export.tflite_file import read_model
from efficientdet_pipeline.export.tflite_learnt import agreement, quantized_network
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.inference.canvas import normalized
from efficientdet_pipeline.options.compression import PruneSpec

INT8 = 9
"""TensorType of TFLite's schema."""
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["efficientdet-lite0", pytest.param("efficientdet-d0", marks=pytest.mark.slow)])
def test_write_learnt_int8_computes_what_the_pruned_and_fake_quantized_network_computes(
    name: str, tmp_path: Path
) -> None:
    network = take_statistics(tiny_network(name), IMAGES)
    prune(network, PruneSpec(sparsity=0.5, pattern="."))
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
    model = read_model(path.read_bytes())
    graph = model.subgraphs[0]
    assert [graph.tensors[index].name for index in graph.outputs] == [b"logits", b"deltas"]
    floats = [tensor for tensor in graph.tensors if tensor.type == 0]
    # Pixels before they are rounded, and the two outputs.
    assert len(floats) <= 8
    kernels = [model.buffers[each.buffer].data for each in graph.tensors if each.type == INT8 and len(each.shape) == 4]
    kernels = [np.frombuffer(bytes(data), np.int8) for data in kernels if data is not None and len(data) > 1]
    assert len(kernels) > 20
    # What is pruned stays pruned on the device, with its batch norm folded in.
    assert np.mean(np.concatenate(kernels) == 0) >= 0.5
    assert min(np.mean(kernel == 0) for kernel in kernels) >= 0.45
