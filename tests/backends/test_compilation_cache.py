"""Compilation cache of JAX: a second start compiles nothing, gives the same bits, and survives damage."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

Start = Callable[..., subprocess.CompletedProcess[str]]

TRAIN = """
import json
import hashlib
import jax
import keras
import numpy as np
from jax import numpy as jnp
from efficientdet_pipeline.training import compilation_jax

compilation_jax.MIN_SECONDS = 0.0
if sys.argv[2:] != ["as it is"]:
    compilation_jax.PLATFORMS = {"cpu"}
compilation_jax.use_cache(sys.argv[1], "")
hits = []
jax.monitoring.register_event_listener(lambda event, **about: hits.append(event.rpartition("/")[2]))
keras.utils.set_random_seed(1)
random = np.random.default_rng(0)
images, classes = random.standard_normal((8, 8, 8, 3), dtype="float32"), np.arange(8) % 2
layers = keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(2)
model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=True)
model.fit(images, classes, batch_size=4, epochs=2, shuffle=False, verbose=0)
weights = b"".join(np.asarray(weight).tobytes() for weight in model.get_weights())
made = compilation_jax.finished()
print(json.dumps({
    "weights": hashlib.sha256(weights).hexdigest(),
    "hits": hits.count("cache_hits"),
    "written": hits.count("cache_misses"),
    "cache": made.cache,
    "key": compilation_jax.cache_key(),
}))
"""


def answer_of(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1]) | {"stderr": result.stderr}


def test_compilation_cache_is_read_at_the_next_start(jax_python: str, run_on: Start, tmp_path: Path) -> None:
    first = answer_of(run_on("jax", jax_python, TRAIN, str(tmp_path)))
    assert first["written"] > 0
    assert first["cache"] == str(tmp_path)
    folder = tmp_path / first["key"]
    programs = {path: path.read_bytes() for path in folder.glob("*-cache")}
    assert len(programs) == first["written"]
    assert all(path.with_name(path.name[: -len("cache")] + "sha256").exists() for path in programs)

    # Half of the largest program is lost.
    largest = max(programs, key=lambda path: len(programs[path]))
    largest.write_bytes(programs[largest][: len(programs[largest]) // 2])
    second = answer_of(run_on("jax", jax_python, TRAIN, str(tmp_path)))
    assert (second["hits"], second["written"]) == (first["written"] - 1, 1)
    assert "Error reading" not in second["stderr"]
    assert second["weights"] == first["weights"]

    without = answer_of(run_on("jax", jax_python, TRAIN, "none"))
    assert (without["hits"], without["written"], without["cache"]) == (0, 0, "")
    assert without["weights"] == first["weights"]


def test_compilation_cache_that_cannot_be_written_is_said_once(jax_python: str, run_on: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    result = answer_of(run_on("jax", jax_python, TRAIN, str(tmp_path / "file")))
    assert result["stderr"].count("The compilation cache cannot be written") == 1
    assert "Not a directory" in result["stderr"]
    assert result["cache"] == ""


def test_compilation_cache_is_not_used_on_a_cpu(jax_python: str, run_on: Start, tmp_path: Path) -> None:
    result = answer_of(run_on("jax", jax_python, TRAIN, str(tmp_path), "as it is"))
    assert (result["written"], result["cache"]) == (0, "")
    assert "compilation_cache has no effect on a CPU" in result["stderr"]
    assert not list(tmp_path.iterdir())
