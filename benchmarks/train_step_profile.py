"""Profile of the training step on TensorFlow by kind of operation, from TensorFlow's own tracer.

Each operation counts with its fastest execution of all profiled steps, without the operations inside it, so that other
programs on the machine change little. A kind is the operation's type; gradients of convolutions are listed separately.

    python3 benchmarks/train_step_profile.py --output=train_step_profile.json
"""

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from gpu_given import load_average
from tensorflow.tsl.profiler.protobuf import xplane_pb2
from train_step import detector_step, step_arguments

ROWS = 20


def main() -> None:
    """Profiles, prints and writes the table."""
    parser = step_arguments(__doc__)
    parser.add_argument("--steps", type=int, default=6)
    args = parser.parse_args()
    step = detector_step(args.model_name, args.image_size, args.batch_size, args.num_classes)
    for _ in range(2):
        step()
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        for _ in range(args.steps):
            step()
        tf.profiler.experimental.stop()
        (path,) = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
    durations = durations_of(space)
    rows = by_kind(durations, args.steps)
    total = sum(row["ms"] for row in rows)
    slowest = sorted(durations.items(), key=lambda item: -min(item[1]))[:ROWS]
    operations = [{"operation": name, "kind": kind, "ms": min(found)} for (name, kind), found in slowest]
    result = {
        "ms": total,
        "rows": rows[:ROWS],
        "operations": operations,
        "load_average": load_average(),
        "settings": vars(args),
    }
    print(f"{'operation':38} {'share':>6} {'ms':>8} {'number':>6}")
    for row in rows[:ROWS]:
        print(f"{row['kind']:38} {row['ms'] / total:6.1%} {row['ms']:8.1f} {row['number']:6}")
    if args.output:
        Path(args.output).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def durations_of(space: xplane_pb2.XSpace) -> dict[tuple[str, str], list[float]]:
    """Returns the milliseconds of all executions of each operation, by its name and kind."""
    durations: dict[tuple[str, str], list[float]] = defaultdict(list)
    for name, milliseconds in _executions(space):
        operation, _, kind = name.partition(":")
        durations[operation, kind].append(milliseconds)
    return durations


def by_kind(durations: dict[tuple[str, str], list[float]], steps: int) -> list[dict[str, float | int | str]]:
    """Returns milliseconds and number of operations of a step by kind, slowest first."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])
    for (_, kind), found in durations.items():
        # An operation that runs several times in a step, in a loop, counts as often.
        number = max(1, round(len(found) / steps))
        entry = sums[kind]
        entry[0] += min(found) * number
        entry[1] += number
    rows = [{"kind": kind, "ms": ms, "number": int(number)} for kind, (ms, number) in sums.items()]
    return sorted(rows, key=lambda row: -row["ms"])


def _executions(space: xplane_pb2.XSpace) -> Iterator[tuple[str, float]]:
    """Yields each operation, as name:type, with the milliseconds spent in it and not in others inside it."""
    for plane in space.planes:
        if not plane.name.startswith("/host:CPU"):
            continue
        names = {number: each.name for number, each in plane.event_metadata.items()}
        for line in plane.lines:
            events = sorted(line.events, key=lambda each: (each.offset_ps, -each.duration_ps))
            open_: list[list] = []
            for event in [*events, None]:
                while open_ and (event is None or event.offset_ps >= open_[-1][1]):
                    name, _, own = open_.pop()
                    if is_operation(name):
                        yield name, own / 1e9
                if event is not None:
                    name = names[event.metadata_id]
                    if open_ and is_operation(name):
                        open_[-1][2] -= event.duration_ps
                    open_.append([name, event.offset_ps + event.duration_ps, event.duration_ps])


def is_operation(name: str) -> bool:
    """Returns whether an event is an operation of the graph: name:Type."""
    _, colon, kind = name.partition(":")
    return bool(colon) and kind.isidentifier()


if __name__ == "__main__":
    main()
