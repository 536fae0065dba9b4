"""cuDNN's convolutions in a program compiled by XLA: their algorithms, their bytes, and themselves alone.

XLA measures cuDNN's algorithms for each convolution while it compiles. A measurement on a cold or shared device may
choose one that is tens of times slower; the same kind of convolution elsewhere in the network shows which is usual.
"""

import math
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

USUAL_SHARE = 0.05
"""An algorithm of fewer convolutions of its kind than this share is unusual."""
FEWEST = 20
"""Convolutions of one kind from which there is a usual algorithm."""
BYTES = {"bf16": 2, "f16": 2, "f32": 4, "f64": 8, "s8": 1, "u8": 1}
_SHAPE = re.compile(r"%([\w.\-]+) = \(?([a-z]+\d+)\[([\d,]*)\]")
_CALL = re.compile(r"%([\w.\-]+) = .* custom-call\(([^)]*)\), (.*)custom_call_target=\"__cudnn\$(\w+)\"(.*)")


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """One convolution of a compiled program."""

    name: str
    """Of the HLO instruction; a profile has it as well."""
    operation: str
    """Place in the network, such as backbone/block_2/spatial_conv."""
    kind: str
    """convForward, convBackwardInput or convBackwardFilter; gradients of inputs may be computed as convForward."""
    algorithm: str
    groups: int
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    """Element type and shape of the inputs, then of the output."""
    window: str
    """Sizes, strides and padding, as XLA writes them."""
    labels: str
    """Order of the dimensions, as XLA writes it."""

    @property
    def num_bytes(self) -> int:
        """Bytes of inputs and output, the least that must move."""
        return sum(BYTES.get(kind, 4) * math.prod(shape) for kind, shape in self.shapes)


def convolutions_of(hlo: str) -> list[Convolution]:
    """Returns cuDNN's convolutions in the text of a compiled program; none on a CPU."""
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    calls: list[re.Match[str]] = []
    for line in hlo.splitlines():
        if found := _SHAPE.search(line):
            shapes[found[1]] = found[2], tuple(int(size) for size in found[3].split(",") if size)
        if "__cudnn$conv" in line and (call := _CALL.search(line)):
            calls.append(call)
    made = []
    for call in calls:
        names = [*re.findall(r"%([\w.\-]+)", call[2]), call[1]]
        made.append(
            Convolution(
                name=call[1],
                operation=_matched(r'op_name="([^"]*)"', call[5]),
                kind=call[4],
                algorithm=_matched(r'"algo_id":"(-?\d+)"', call[5]),
                groups=int(_matched(r"feature_group_count=(\d+)", call[3]) or 1),
                shapes=tuple(shapes[name] for name in names if name in shapes),
                window=_matched(r"window=\{([^}]*)\}", call[3]),
                labels=_matched(r"dim_labels=([\w>\-]+)", call[3]),
            )
        )
    return made


def odd_choices(convolutions: Sequence[Convolution]) -> list[Convolution]:
    """Returns the convolutions with an algorithm that others of their kind do not have."""

    def kind_of(each: Convolution) -> tuple[str, bool]:
        return each.kind, each.groups > 1

    kinds = Counter(map(kind_of, convolutions))
    chosen = Counter((kind_of(each), each.algorithm) for each in convolutions)
    return [
        each
        for each in convolutions
        if kinds[kind_of(each)] >= FEWEST
        and chosen[kind_of(each), each.algorithm] <= USUAL_SHARE * kinds[kind_of(each)]
    ]


def seconds_alone(convolution: Convolution, *, rounds: int = 5, calls: int = 10) -> float | None:
    """Returns the seconds of a forward convolution compiled by itself; None for other kinds."""
    if convolution.kind != "convForward" or len(convolution.shapes) < 3:
        return None
    import jax
    from jax import numpy as jnp

    arrays = [
        jnp.ones(shape, {"bf16": "bfloat16", "f16": "float16"}.get(kind, "float32"))
        for kind, shape in convolution.shapes[:2]
    ]
    convolve = jax.jit(lambda image, kernel: jax.lax.conv_general_dilated(image, kernel, **arguments_of(convolution)))
    jax.block_until_ready(convolve(*arrays))
    fastest = math.inf
    for _ in range(rounds):
        began = time.perf_counter()
        results = [convolve(*arrays) for _ in range(calls)]
        jax.block_until_ready(results)
        fastest = min(fastest, (time.perf_counter() - began) / calls)
    return fastest


def arguments_of(convolution: Convolution) -> dict[str, object]:
    """Returns the arguments of `jax.lax.conv_general_dilated` for a forward convolution."""
    words = dict(word.split("=") for word in convolution.window.split())
    sizes = words["size"].split("x")
    padding = [tuple(map(int, pair.split("_"))) for pair in words.get("pad", "x".join(["0_0"] * len(sizes))).split("x")]
    strides = [int(stride) for stride in words.get("stride", "x".join(["1"] * len(sizes))).split("x")]
    image, kernel, output = re.split(r"_|->", convolution.labels)
    places = str.maketrans("bf01", "NCHW")
    numbers = image.translate(places), kernel.translate(str.maketrans("oi01", "OIHW")), output.translate(places)
    return {
        "window_strides": strides,
        "padding": padding,
        "dimension_numbers": numbers,
        "feature_group_count": convolution.groups,
    }


def _matched(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""
