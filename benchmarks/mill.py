"""Benchmark of the conversion to shards: images per second, start-up time, and memory of parent and workers.

BCCD's images, repeated under other names, are converted by two processes in a
fresh interpreter. google/automl's writer, without checks and in one process,
was measured at 704 images per second on the same machine.

    EFFICIENTDET_TEST_DATA=data python3 benchmarks/mill.py --photos=1000,10000 --output=mill.json
"""

import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tfrmod.archive import extract
from tfrmod.convert import ConvertOptions, convert
from tfrmod.workers import default_workers


def main() -> int:
    """Repeats the images, converts them, prints and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", default="1000,10000", help="comma-separated numbers of images")
    parser.add_argument("--num_workers", type=int, default=default_workers())
    parser.add_argument("--no_verify", action="store_true", help="measure only without verification")
    parser.add_argument("--output", default="")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(_measured(*map(Path, args.measure), args.num_workers, verify=not args.no_verify)))
        return 0
    data = os.environ.get("EFFICIENTDET_TEST_DATA")
    if not data:
        sys.exit("EFFICIENTDET_TEST_DATA must name the folder that contains bccd.zip.")
    results = []
    with tempfile.TemporaryDirectory() as place:
        source = extract(Path(data) / "bccd.zip", Path(place) / "bccd")
        for count in map(int, args.photos.split(",")):
            folder = _repeated(source, Path(place) / str(count), count)
            for flags in (["--no_verify"],) if args.no_verify else ([], ["--no_verify"]):
                out = Path(place) / "out"
                command = [sys.executable, __file__, "--measure", str(folder), str(out), *flags]
                command.append(f"--num_workers={args.num_workers}")
                shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                results.append({"photos": count, "verify": not flags, **json.loads(shown)})
                print(json.dumps(results[-1]), flush=True)
                shutil.rmtree(out)
            shutil.rmtree(folder)
    if args.output:
        content = {"num_workers": args.num_workers, "results": results}
        Path(args.output).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 0


def _repeated(source: Path, folder: Path, count: int) -> Path:
    """Fills a folder with `count` images, linked under new names, and their annotations."""
    annotations = sorted((source / "Annotations").glob("*.xml"))
    texts = [path.read_text(encoding="utf-8") for path in annotations]
    for name in ("Annotations", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        index = number % len(texts)
        stem = f"{number:06d}_{annotations[index].stem}"
        text = re.sub("<filename>.*?</filename>", f"<filename>{stem}.jpg</filename>", texts[index])
        (folder / "Annotations" / f"{stem}.xml").write_text(text, encoding="utf-8")
        os.link(source / "JPEGImages" / f"{annotations[index].stem}.jpg", folder / "JPEGImages" / f"{stem}.jpg")
    return folder


def _measured(folder: Path, out: Path, num_workers: int, *, verify: bool) -> dict[str, Any]:
    """Returns the results of one conversion in this process."""
    watch = _Watch()
    moments: dict[str, list[float]] = {}
    began = time.monotonic()

    def note(what: str, done: int, total: int) -> None:
        moments.setdefault(what, []).append(time.monotonic())

    manifest = convert(folder, out, ConvertOptions(num_workers=num_workers, verify=verify), on_progress=note)
    ended = time.monotonic()
    peaks = watch.stopped()
    count = sum(split.num_images for split in manifest.splits.values())
    start_up = moments["checking"][0] - began
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in used)
    return {
        "wall_seconds": round(ended - began, 3),
        "start_up_seconds": round(start_up, 3),
        "images_per_second": round(count / (ended - began - start_up), 1),
        "images_per_cpu_second": round(count / cpu, 1),
        "checking_seconds": round(moments["checking"][-1] - moments["checking"][0], 3),
        "dividing_seconds": round(moments["writing"][0] - moments["checking"][-1], 3),
        "writing_seconds": round(moments["writing"][-1] - moments["writing"][0], 3),
        **peaks,
    }


class _Watch:
    """Samples the memory of this process and its children ten times per second; shared memory counts once."""

    def __init__(self) -> None:
        self._highest: dict[int, int] = {}
        self._sum = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stopped(self) -> dict[str, float]:
        """Stops sampling; returns peaks in MiB."""
        self._is_over.set()
        self._thread.join()
        workers = [peak for process, peak in self._highest.items() if process != os.getpid()]
        return {
            "parent_peak_mib": round(self._highest[os.getpid()] / 1024, 1),
            "worker_peak_mib": round(max(workers, default=0) / 1024, 1),
            "sum_peak_mib": round(self._sum / 1024, 1),
        }

    def _look(self) -> None:
        while not self._is_over.wait(0.1):
            now = {}
            for process in [os.getpid(), *_children(os.getpid())]:
                peak, now[process] = _memory(process)
                self._highest[process] = max(peak, self._highest.get(process, 0))
            self._sum = max(self._sum, sum(now.values()))


def _children(process: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{process}/task").iterdir():
        with contextlib.suppress(OSError):  # The thread has ended.
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _memory(process: int) -> tuple[int, int]:
    """Returns the peak memory of a process, and its share of the memory in use (PSS); KiB, 0 if it has ended."""
    try:
        peak = re.search(r"^VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
        share = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{process}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0, 0
    return int(peak[1]) if peak else 0, int(share[1]) if share else 0


if __name__ == "__main__":
    sys.exit(main())
