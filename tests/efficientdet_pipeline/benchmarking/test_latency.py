"""Latency, interleaved, of networks alone and end to end."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from efficientdet.types import Detections
from PIL import Image

from efficientdet_pipeline.benchmarking.latency import Candidate, Plan, draw, measure_latency, table, write_json
from efficientdet_pipeline.errors import OptionsError


class Sleeper:
    """A predictor with a known latency that records its calls."""

    def __init__(self, name: str, seconds: float, calls: list[str]) -> None:
        self.name, self.seconds, self.calls = name, seconds, calls

    def detect(self, images: np.ndarray) -> Detections:
        self.calls.append(f"{self.name}{len(images)}")
        time.sleep(self.seconds * len(images))
        return Detections(np.zeros((1, 1, 4)), np.zeros((1, 1)), np.zeros((1, 1)), np.zeros(1))

    def run(self, canvases: np.ndarray) -> None:
        assert canvases.shape[1:] == (16, 16, 3)
        time.sleep(self.seconds / 2)


def test_measure_latency_takes_turns_and_tells_parts_apart(tmp_path: Path) -> None:
    calls: list[str] = []
    slow, quick = Sleeper("s", 0.02, calls), Sleeper("q", 0.005, calls)
    candidates = [
        Candidate(name="slow", predictor=slow, run_network=slow.run, threads=1),
        Candidate(name="quick", predictor=quick),
    ]
    plan = Plan(image_size=(20, 30), canvas=(16, 16), batch_sizes=(1, 2), warmup=2, rounds=4)
    found = measure_latency(candidates, plan)
    assert [(each.name, each.part, each.batch_size) for each in found] == [
        ("slow", "network", 1),
        ("slow", "end_to_end", 1),
        ("quick", "end_to_end", 1),
        ("slow", "network", 2),
        ("slow", "end_to_end", 2),
        ("quick", "end_to_end", 2),
    ]
    assert calls[:12] == [*"s1 s1 q1 q1".split(), *"s1 q1 q1 s1 s1 q1 q1 s1".split()]
    by_key = {(each.name, each.part, each.batch_size): each for each in found}
    whole = by_key["slow", "end_to_end", 1]
    assert 20 <= whole.wall["p50"] < 35
    assert whole.wall["min"] <= whole.wall["p50"] <= whole.wall["p90"] <= whole.wall["p99"]
    assert whole.cpu < 10  # It sleeps.
    assert 28 < whole.images_per_second <= 50
    assert by_key["slow", "network", 1].wall["p50"] < whole.wall["p50"]

    lines = table(found).splitlines()
    assert len(lines) == 7
    assert lines[1].split()[:4] == ["slow", "network", "1", "1"]
    write_json(tmp_path / "latency.json", found, plan)
    content = json.loads((tmp_path / "latency.json").read_text())
    assert content["latencies"][0]["name"] == "slow"
    assert content["machine"]["cores"] >= 1
    draw(tmp_path / "latency.png", found, title="Latency")
    with Image.open(tmp_path / "latency.png") as image:
        assert image.width > 400


def test_measure_latency_of_what_has_no_network_alone() -> None:
    plan = Plan(image_size=(8, 8), warmup=1, rounds=1)
    found = measure_latency([Candidate(name="a", predictor=Sleeper("a", 0.0, []))], plan)
    assert [each.part for each in found] == ["end_to_end"]


def test_measure_latency_refuses(tmp_path: Path) -> None:
    twice = [Candidate(name="a", predictor=Sleeper("a", 0.0, []))] * 2
    with pytest.raises(OptionsError, match="one or more distinct artifacts"):
        measure_latency(twice, Plan())
    with pytest.raises(OptionsError, match="must be 1 or more"):
        Plan(rounds=0)
