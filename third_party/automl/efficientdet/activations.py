"""Activation functions that `act_type` names."""

from collections.abc import Callable

from keras import ops

from efficientdet.cpu_kernels import fused, is_compiled
from efficientdet.types import Tensor


@ops.custom_gradient
def _silu(x: Tensor) -> tuple[Tensor, Callable[..., Tensor]]:
    """Returns x * sigmoid(x).

    The gradient of small maps is computed from the output, which the next layer
    keeps anyway, and from the sigmoid in place of the input: as much memory as
    TensorFlow's own gradient, without a second sigmoid. Where it is compiled, a
    second sigmoid costs less than to write the first.
    """
    gate = ops.sigmoid(x)
    y = x * gate
    if is_compiled(x):
        return y, lambda upstream: _silu_gradient(upstream, x)
    return y, lambda upstream: upstream * (gate + y * (1.0 - gate))


@fused
def _silu_gradient(upstream: Tensor, x: Tensor) -> Tensor:
    gate = ops.sigmoid(x)
    return upstream * (gate + x * gate * (1.0 - gate))


def _srelu(x: Tensor) -> Tensor:
    """Returns a ReLU with a smooth corner; smoothness 20^4, as in automl."""
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
"""act_type → activation function."""
