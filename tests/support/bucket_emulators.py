"""Emulators of S3 and Google Cloud Storage on loopback, each with a bucket named `bucket`."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def s3_emulator() -> Iterator[dict[str, str]]:
    """Yields the environment variables by which programs find an emulated S3."""
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'efficientdet-pipeline[s3]'")
    server = pytest.importorskip("moto.server", reason="moto is not installed: pip install -r requirements-dev.txt")
    import boto3

    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    url = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys).create_bucket(Bucket="bucket")
    try:
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_DEFAULT_REGION": "us-east-1",
            **{name.upper(): value for name, value in keys.items()},
        }
    finally:
        running.stop()


@contextmanager
def gs_emulator() -> Iterator[dict[str, str]]:
    """Yields the environment variables by which programs find an emulated Google Cloud Storage."""
    pytest.importorskip("gcsfs", reason="gcsfs is not installed: pip install 'efficientdet-pipeline[gcs]'")
    server = pytest.importorskip(
        "gcp_storage_emulator.server", reason="the emulator is not installed: pip install -r requirements-dev.txt"
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running = server.create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket")
    running.start()
    try:
        yield {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}
    finally:
        running.stop()


EMULATORS = {"s3": s3_emulator, "gs": gs_emulator}
"""Scheme of an address → the emulator of its service."""


@contextmanager
def set_in_environment(values: dict[str, str]) -> Iterator[None]:
    """Sets environment variables of this process as long as the block runs."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
