"""Benchmark of the dataset check: images per second on repeated BCCD images, decoded, hashed and checked.

The rate is measured between the first and the last chunk, without the start of
the processes. The CPU time per image, of parent and workers together, is
reported as well, because other programs affect it less.

    EFFICIENTDET_TEST_DATA=data python3 benchmarks/doctor.py --output=doctor.json
"""

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
import zipfile
from pathlib import Path, PurePosixPath

import efficientdet

from efficientdet_pipeline.doctor import collect, run_checks
from efficientdet_pipeline.doctor.dataset_stats import Plan
from efficientdet_pipeline.models.anchor_fit import AnchorGrid
from tfrmod.convert_options import ConvertOptions
from tfrmod.workers import Workers


def main() -> None:
    """Measures, prints and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=3640, help="BCCD's are repeated as often as that needs")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", default="")
    args = parser.parse_args()
    data = os.environ.get("EFFICIENTDET_TEST_DATA")
    if not data:
        sys.exit("EFFICIENTDET_TEST_DATA must name the folder that contains bccd.zip.")
    with tempfile.TemporaryDirectory() as folder:
        repeat(Path(data) / "bccd.zip", Path(folder) / "photos", args.photos)
        result = measure(Path(folder), args.workers)
    print(json.dumps(result, indent=2))
    if args.output:
        Path(args.output).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def repeat(photos: Path, folder: Path, count: int) -> None:
    """Writes `count` images with their annotations; copies differ by a few bytes after the image data."""
    with zipfile.ZipFile(photos) as archive:
        members = {PurePosixPath(name).stem: archive.read(name) for name in archive.namelist() if name.endswith(".jpg")}
        xml = {PurePosixPath(name).stem: archive.read(name) for name in archive.namelist() if name.endswith(".xml")}
    stems = sorted(members.keys() & xml.keys())
    for name in ("JPEGImages", "Annotations"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        stem = stems[number % len(stems)]
        (folder / "JPEGImages" / f"{number:06d}.jpg").write_bytes(members[stem] + f"{number:06d}".encode())
        (folder / "Annotations" / f"{number:06d}.xml").write_bytes(xml[stem])


def measure(folder: Path, num_workers: int) -> dict[str, object]:
    """Returns the results of one check of the images in `folder`."""
    plan = Plan(grid=AnchorGrid.of(efficientdet.get_config("efficientdet-d0")), max_detections=100)
    ticks: list[tuple[float, int]] = []
    began, cpu = time.perf_counter(), _cpu_seconds()
    staging = folder / "staging"
    staging.mkdir()
    with Workers(num_workers) as workers:
        facts = collect.annotation_stats(
            folder / "photos",
            ConvertOptions(),
            staging,
            workers,
            lambda done, _: ticks.append((time.perf_counter(), done)),
        )
    looked = time.perf_counter()
    findings = run_checks.validate_dataset(facts, plan)
    judged = time.perf_counter()
    cpu = _cpu_seconds() - cpu
    (first, first_done), (last, last_done) = ticks[0], ticks[-1]
    count = len(facts.photos)
    return {
        "photos": count,
        "workers": num_workers,
        "photos_per_second_steady": round((last_done - first_done) / (last - first), 1),
        "photos_per_second_in_all": round(count / (judged - began), 1),
        "seconds_to_first_photos": round(first - began, 2),
        "seconds_to_look": round(looked - began, 2),
        "seconds_to_judge": round(judged - looked, 2),
        "cpu_milliseconds_per_photo": round(1000 * cpu / count, 3),
        "photos_per_second_by_cpu_time": round(num_workers * count / cpu, 1),
        "findings": len(findings),
        "load_average": round(os.getloadavg()[0], 1),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def _cpu_seconds() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()
