"""--mode=benchmark --what=latency measures the checkpoint and the artifacts of its export."""

import json
from collections.abc import Callable
from pathlib import Path

import yaml
from PIL import Image

from efficientdet_pipeline.errors import ExitCode
from efficientdet_pipeline.export.formats import FORMATS
from efficientdet_pipeline.export.trained_detector import TrainedDetector


def test_benchmark_latency_measures_what_is_there(
    main: Callable[..., int], copied_run: Path, tmp_path: Path, said: Callable
) -> None:
    from efficientdet.model import build_model

    from efficientdet_pipeline.models.description import config_beside

    config = config_beside(copied_run / "checkpoints" / "best" / "x")
    assert config is not None
    (copied_run / "export").mkdir()
    detector = TrainedDetector(model=build_model(config), config=config, label_map={})
    FORMATS["onnx"].write(detector, FORMATS["onnx"].path(copied_run / "export", config))
    common = ("--mode=benchmark", "--what=latency", "--rounds=2", "--latency_image=64x48", "--output=out.json")
    assert main(*common, f"--model_dir={copied_run}", "--thread_counts=1,2", "--batch_sizes=1,3") == 0
    found = json.loads((tmp_path / "out.json").read_text())["latencies"]
    kinds = {(each["name"], each["part"], each["threads"], each["batch_size"]) for each in found}
    assert kinds == {
        (name, part, threads, size)
        for name, threads in (("checkpoint", None), ("onnx", 1), ("onnx", 2))
        for part in ("network", "end_to_end")
        for size in (1, 3)
    }
    assert all(each["wall"]["p50"] > 0 for each in found)
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.width > 400
    assert "images/s" in said().out
    assert main(*common, "--artifacts=nothing") == ExitCode.MISSING
    onnx = FORMATS["onnx"].path(copied_run / "export", config)
    (copied_run / "export" / "hparams_config.yaml").write_text(yaml.safe_dump(config.to_hparams()))
    assert main(*common, f"--artifacts={onnx}") == 0
    found = json.loads((tmp_path / "out.json").read_text())["latencies"]
    assert [(each["name"], each["part"]) for each in found] == [
        (f"export/{onnx.name}", "network"),
        (f"export/{onnx.name}", "end_to_end"),
    ]
    assert main(*common, f"--artifacts={onnx},nothing.tflite") == ExitCode.MISSING
    (tmp_path / "out.json").unlink()
    assert main(*common, f"--model_dir={copied_run}") == ExitCode.OPTIONS
