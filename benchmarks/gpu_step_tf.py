"""Our step on TensorFlow, for `gpu_suite.py`: the whole training step of the pipeline, compiled by XLA on a GPU."""

import os
import sys
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "third_party" / "automl"))

import keras
import tensorflow as tf
from gpu_given import Given, Notes, images_a_second, process_gigabytes
from train_step import detector_step


def measured(given: Given, notes: Notes) -> None:
    """Notes rate, time to the first step and memory for one batch size."""
    devices = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details(devices[0]) if devices else {}
    notes.add(
        {
            "device": details.get("device_name", "cpu"),
            "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
            "compiled": bool(devices),
        }
    )
    precision = given.precision if devices else "float32"
    step = detector_step(
        given.model_name,
        given.image_size,
        given.batch_size,
        given.num_classes,
        precision=precision,
        **given.network,
    )
    began = time.perf_counter()
    notes.say("building the graph and compiling it …")
    step()
    notes.add({"first_step_seconds": time.perf_counter() - began, "precision": precision})

    def one_round() -> None:
        for _ in range(given.steps):
            step()

    notes.add({"images_a_second": images_a_second(one_round, given)})
    memory = {"process_peak": process_gigabytes()}
    if devices:
        memory["device_peak"] = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e9
    notes.add({"memory_gb": memory})
