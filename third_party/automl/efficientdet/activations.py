"""The activations that act_type can name."""

from collections.abc import Callable

from keras import ops

from efficientdet.cpu_kernels import fused
from efficientdet.types import Tensor


@ops.custom_gradient
def _silu(x: Tensor) -> tuple[Tensor, Callable[..., Tensor]]:
    """Returns x * sigmoid(x).

    The gradient is made of the output, which the next layer keeps anyway, and
    of the sigmoid in place of the input: as much memory as TensorFlow's own
    takes, and no sigmoid a second time.
    """
    gate = ops.sigmoid(x)
    y = x * gate

    return y, lambda upstream: _silu_gradient(upstream, gate, y)


@fused
def _silu_gradient(upstream: Tensor, gate: Tensor, y: Tensor) -> Tensor:
    return upstream * (gate + y * (1.0 - gate))


def _srelu(x: Tensor) -> Tensor:
    """Returns a relu whose corner is rounded; automl's smoothness, 20 to the fourth power."""
    smoothness = 20.0**4
    positive = ops.relu(x)
    return positive - ops.log1p(smoothness * positive) / smoothness


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "swish": _silu,
    "silu": _silu,
    "swish_native": _silu,
    "hswish": lambda x: x * ops.relu6(x + 3.0) / 6.0,
    "relu": ops.relu,
    "relu6": ops.relu6,
    "mish": lambda x: x * ops.tanh(ops.softplus(x)),
    "srelu": _srelu,
}
"""act_type → its formula."""
