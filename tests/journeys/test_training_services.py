"""A training job of Vertex AI, with local folders in place of buckets: stopped, restarted, and found where it says."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from efficientdet_pipeline.demo_dataset import write_demo_dataset

JOB = ("--model_name=efficientdet-lite0", "--image_size=64", "--pretrained_ckpt=none", "--batch_size=4")


@pytest.mark.slow
def test_vertex_job_restarts_after_sigterm_and_leaves_everything_where_the_service_reads_it(
    home: Path,
    start: Callable[..., "subprocess.Popen[str]"],
    run: Callable[..., "subprocess.CompletedProcess[str]"],
    small_network: str,
) -> None:
    images = write_demo_dataset(home / "vertex.zip", num_images=18, image_size=(72, 64))
    service = {
        "AIP_MODEL_DIR": f"{home}/out/model/",
        "AIP_CHECKPOINT_DIR": f"{home}/out/checkpoints/",
        "AIP_TENSORBOARD_LOG_DIR": f"{home}/out/logs/",
        "AIP_TRAINING_DATA_URI": str(images),
        "CLUSTER_SPEC": json.dumps(
            {"cluster": {"workerpool0": ["a:2222"]}, "task": {"type": "workerpool0", "index": 0}}
        ),
        "CLOUD_ML_HP_METRIC_FILE": f"{home}/hypertune/output.metrics",
        "CLOUD_ML_TRIAL_ID": "4",
        "workspace": "/workspace",
    }
    job = (*JOB, small_network, "--num_epochs=30", "--map_freq=15", "--save_freq=1")
    process = start(*job, **service)
    deadline = time.monotonic() + 300
    while not (home / "out/checkpoints/checkpoints/last").is_dir() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 75, stdout + stderr
    assert not (home / "out/model/saved_model.pb").exists()
    done = run(*job, **service)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "model_dir = " in done.stdout
    assert "(Vertex AI's AIP_CHECKPOINT_DIR)" in done.stdout
    assert "Resuming after" in done.stdout
    assert (home / "out/model/saved_model.pb").is_file()
    assert (home / "out/model/label_map.yaml").is_file()
    assert list((home / "out/logs").glob("events.out.tfevents.*"))
    assert not (home / "out/checkpoints/tensorboard").exists()
    metrics = [json.loads(line) for line in (home / "hypertune/output.metrics").read_text().splitlines()]
    assert {metric["trial"] for metric in metrics} == {"4"}
    assert float(metrics[-1]["AP"]) >= 0
    again = run(*job, **service)
    assert again.returncode == 0, again.stderr
    assert "is finished after 30 epochs" in again.stdout
