"""Loads --mode=serve with real images and damaged ones between them: status, latency, memory, and throughput.

The server's throughput is compared with that of its own detector in this process, which decodes and detects in the
same images one after the other. Without --model, a network of random weights is served: it detects as fast.

    EFFICIENTDET_TEST_DATA=data python3 benchmarks/serving.py --model=runs/NAME/export --output=serving.json
"""

import argparse
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
MAIN = Path(__file__).resolve().parents[1] / "main.py"
_MB = 1 << 20


def main() -> int:
    """Measures, prints and writes the figures; returns 1 if the server failed a request that it should answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="", help="an export")
    parser.add_argument("--image_size", type=int, default=512, help="of the network of random weights")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--nasty_every", type=int, default=10)
    parser.add_argument("--output", default="")
    args = parser.parse_args()
    data = os.environ.get("EFFICIENTDET_TEST_DATA")
    if not data:
        sys.exit("EFFICIENTDET_TEST_DATA must name the folder that holds bccd.zip and nasty.")
    with zipfile.ZipFile(Path(data, "bccd.zip")) as archive:
        names = sorted(name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg")))[:50]
        good = [archive.read(name) for name in names]
    nasty = [path.read_bytes() for path in sorted(Path(data, "nasty").iterdir()) if path.suffix not in {".md", ""}]
    with tempfile.TemporaryDirectory() as folder:
        model = [f"--saved_model_dir={args.model}"] if args.model else random_model(Path(folder), args.image_size)
        result = measured(args, model, good, nasty)
    print(json.dumps(result, indent=2))
    if args.output:
        Path(args.output).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if result["answers"].keys() <= {"200", "400", "413", "422"} and result["exit_code"] == 0 else 1


def random_model(folder: Path, image_size: int) -> list[str]:
    """Returns the option that names a checkpoint of D0 with random weights."""
    from efficientdet.model import build_model

    from efficientdet_pipeline.models.build import describe_network

    network = describe_network(
        "efficientdet-d0", {"image_size": image_size, "num_classes": 3}, {1: "a", 2: "b", 3: "c"}
    )
    build_model(network.config).save_weights(folder / "model.weights.h5")
    network.write(folder / "hparams_config.yaml")
    return [f"--path_ckpt={folder}"]


def measured(args: argparse.Namespace, model: list[str], good: list[bytes], nasty: list[bytes]) -> dict:
    """Returns the figures of a server: started, warmed up, loaded and ended here."""
    own = own_throughput(model, good)
    process = subprocess.Popen(
        [sys.executable, str(MAIN), "--mode=serve", *model, "--port=0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = next(line for line in iter(process.stdout.readline, "") if "http://" in line)
        port = int(re.search(r":(\d+)/", line)[1])
        mixed = [nasty[n // args.nasty_every % len(nasty)] if n % args.nasty_every == 0 else good[n % len(good)]
                 for n in range(args.requests)]  # fmt: skip
        load(port, good[:20], args.clients)
        load(port, nasty, args.clients)
        before = memory(port)
        started = time.monotonic()
        quick = load(port, [good[n % len(good)] for n in range(args.requests // 4)], args.clients)
        throughput = len(quick) / (time.monotonic() - started)
        answers = load(port, mixed, args.clients)
        after = memory(port)
        process.send_signal(signal.SIGTERM)
        # On a machine that others use, it ends late.
        exit_code = process.wait(timeout=600)
    finally:
        process.kill()
    seconds = np.array([each for _, each in quick])
    return {
        "answers": dict(Counter(str(status) for status, _ in answers)),
        "p50_ms": round(float(np.percentile(seconds, 50)) * 1000, 1),
        "p95_ms": round(float(np.percentile(seconds, 95)) * 1000, 1),
        "p95_ms_with_nasty_images": round(float(np.percentile([each for _, each in answers], 95)) * 1000, 1),
        "images_per_second": round(throughput, 2),
        "detector_alone_images_per_second": round(own, 2),
        "share_of_detector_alone": round(throughput / own, 3),
        "memory_mb_before": round(before / _MB),
        "memory_mb_after": round(after / _MB),
        "exit_code": exit_code,
        "settings": vars(args),
        "cores": os.cpu_count(),
    }


def own_throughput(model: list[str], images: list[bytes]) -> float:
    """Returns images per second of the detector alone, one after the other."""
    from efficientdet_pipeline.inference.detector import load_detector
    from efficientdet_pipeline.inference.image_io import decode_content
    from efficientdet_pipeline.options.hparams import HparamsGiven
    from efficientdet_pipeline.options.infer import DetectorOptions
    from efficientdet_pipeline.options.schema import compose

    given = dict(each.removeprefix("--").split("=", 1) for each in model)
    detector = load_detector(compose(DetectorOptions, **given), HparamsGiven())
    for content in images[:5]:
        detector.detect(decode_content(content))
    start = time.monotonic()
    for content in images:
        detector.detect(decode_content(content))
    return len(images) / (time.monotonic() - start)


def load(port: int, bodies: list[bytes], clients: int) -> list[tuple[int, float]]:
    """Returns status and seconds of a request for each body, asked by so many clients."""
    found: list[tuple[int, float]] = []
    waiting = iter(bodies)
    lock = threading.Lock()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while True:
            with lock:
                body = next(waiting, None)
            if body is None:
                return connection.close()
            start = time.monotonic()
            connection.request("POST", "/predict", body)
            answer = connection.getresponse()
            json.loads(answer.read())
            found.append((answer.status, time.monotonic() - start))

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if len(found) != len(bodies):
        sys.exit(f"{len(bodies) - len(found)} of {len(bodies)} requests were not answered.")
    return found


def memory(port: int) -> int:
    """Returns the resident memory of the server in bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return int(re.search(r"^process_resident_memory_bytes (\d+)", text, re.MULTILINE)[1])


if __name__ == "__main__":
    sys.exit(main())
