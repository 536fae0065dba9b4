"""What a GPU would run for our step on JAX, from XLA's compiler alone: kernels, and the bytes that they read and write.

Compiles the step for an H200 on any machine: no GPU is needed, but the CUDA packages of JAX, in an environment of their
own. Times need a GPU (`gpu_suite.py`); that a step moves fewer bytes and starts fewer kernels can be seen here. cuDNN's
algorithms are not chosen, as choosing means measuring.

    python3 -m venv plan && plan/bin/pip install "jax[cuda12]" -r requirements.txt
    plan/bin/python benchmarks/gpu_plan.py --output=plan.json
"""

import argparse
import json
import math
import os
import re
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from unittest import mock

os.environ["JAX_PLATFORMS"] = "cpu"
# JAX's plugin asks a driver for its version otherwise.
os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"

from compiled_convolutions import BYTES
from gpu_given import Given, synthetic_batch

H200 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 4800000000000 l2_cache_size: 62914560
  clock_rate_ghz: 1.98 device_memory_size: 150000000000 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 } registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 patch: 0 }
runtime_version { major: 12 minor: 9 patch: 0 }
device_description_str: "sm_90"
"""
"""The card, as XLA describes it."""
SMALL = 4_000_000
"""Bytes below which a kernel takes less time than its start."""
SIZES = BYTES | {"pred": 1}
NO_KERNEL = {"parameter", "get-tuple-element", "bitcast", "tuple", "constant"}
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)")
_SHAPE = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")


@dataclass(frozen=True)
class Kernel:
    """One instruction of a compiled program that reads and writes memory."""

    name: str
    kind: str
    operation: str
    """Place in the network."""
    num_bytes: int
    """Of all operands and results; of a slice, what it returns."""


def kernels_of(hlo: str) -> list[Kernel]:
    """Returns the kernels of the text of a compiled program."""
    entry = re.search(r"^ENTRY .*?^}", hlo, re.DOTALL | re.MULTILINE)
    sizes: dict[str, int] = {}
    kernels = []
    for line in entry.group().splitlines() if entry else []:
        if not (found := _INSTRUCTION.match(line)):
            continue
        name, shape, opcode, rest = found.groups()
        sizes[name] = bytes_of(shape)
        if opcode in NO_KERNEL:
            continue
        target = re.search(r'custom_call_target="([^"]*)"', rest)
        kind = target[1] if target else re.sub(r"[.\d]+$", "", name) if opcode == "fusion" else opcode
        is_slice = opcode == "slice" or kind == "wrapped_slice"
        operands = re.findall(r"%([\w.\-]+)", rest.split("), ")[0])
        read = sizes[name] if is_slice else sum(sizes.get(each, 0) for each in operands)
        operation = re.search(r'op_name="([^"]*)"', rest)
        kernels.append(Kernel(name, kind, operation[1] if operation else "", sizes[name] + read))
    return kernels


def bytes_of(shape: str) -> int:
    """Returns the bytes of a shape, or of all shapes of a tuple, as XLA writes them."""
    return sum(
        SIZES.get(kind, 4) * math.prod(int(size) for size in sizes.split(",") if size)
        for kind, sizes in _SHAPE.findall(shape)
    )


def compiled_for_gpu(given: Given) -> str:
    """Returns the step compiled for the card, as XLA's text."""
    import jax
    from gpu_step_jax import GroundTruth, training_model
    from jax.experimental import topologies
    from jax.sharding import SingleDeviceSharding

    card = topologies.get_topology_desc("", "cuda", target_config=H200, topology="1x1x1").devices[0]
    place = SingleDeviceSharding(card)

    def described(array: object) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=place)

    model = training_model(given)
    state = tuple([described(variable.value) for variable in group] for group in model._variables())
    images, boxes, class_ids = map(described, synthetic_batch(given))
    # The layers ask which device JAX uses, which is this machine's CPU.
    with mock.patch("efficientdet.cpu_kernels.is_gpu_of_jax", return_value=True):
        lowered = jax.jit(model.train_step, donate_argnums=0).lower(state, (images, GroundTruth(boxes, class_ids)))
    return lowered.compile().as_text()


def main() -> None:
    """Compiles, prints and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name", default="efficientdet-d0")
    parser.add_argument("--image_size", type=int, default=512)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--num_classes", type=int, default=90)
    parser.add_argument("--precision", default="mixed_bfloat16")
    parser.add_argument("--rows", type=int, default=15, help="number of kinds of kernels to print")
    parser.add_argument("--output", default="", help="JSON file; all kernels are in it")
    args = parser.parse_args()
    network = {name: getattr(args, name) for name in ("model_name", "image_size", "num_classes", "precision")}
    began = time.perf_counter()
    kernels = kernels_of(compiled_for_gpu(Given(**network, batch_size=args.batch_size, steps=1, rounds=1)))
    by_kind: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in kernels:
        by_kind[kernel.kind].append(kernel)
    small = sum(kernel.num_bytes < SMALL for kernel in kernels)
    gigabytes = sum(kernel.num_bytes for kernel in kernels) / 1e9
    print(
        f"compiled in {time.perf_counter() - began:.0f} s: {len(kernels)} kernels ({small} small), {gigabytes:.1f} GB"
    )
    for kind, group in sorted(by_kind.items(), key=lambda item: -sum(each.num_bytes for each in item[1]))[: args.rows]:
        print(f"{kind:34} {len(group):5} {sum(each.num_bytes for each in group) / 1e9:8.2f} GB")
    if args.output:
        found = {"gigabytes": gigabytes, "settings": vars(args), "kernels": list(map(asdict, kernels))}
        with open(args.output, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=2)


if __name__ == "__main__":
    main()
