"""Convolutions of a compiled program: unusual algorithms, such as two that took a fifth of a step."""

import numpy as np
import pytest
from compiled_convolutions import Convolution, arguments_of, convolutions_of, odd_choices, seconds_alone

# As XLA writes it for a depthwise 3x3 convolution, shortened.
CALL = (
    "  %conv.{number} = (bf16[4,16,16,8]{{3,2,1,0}}, u8[0]{{0}}) custom-call(%image, %kernel), "
    "window={{size=3x3 pad=1_1x1_1}}, dim_labels=b01f_o01i->b01f, feature_group_count=8, "
    'custom_call_target="__cudnn$conv{kind}", '
    'metadata={{op_name="jit(train_step)/backbone/block_{number}/spatial_conv"}}, '
    'backend_config={{"cudnn_conv_backend_config":{{"algorithm":{{"algo_id":"{algorithm}","workspace_size":"0"}}}}}}\n'
)
OPERANDS = "  %image = bf16[4,16,16,8]{3,2,1,0} parameter(0)\n  %kernel = bf16[8,3,3,1]{3,2,1,0} parameter(1)\n"


def program(num_usual: int, num_odd: int) -> str:
    usual = [CALL.format(number=number, kind="Forward", algorithm=5) for number in range(num_usual)]
    odd = [CALL.format(number=100 + number, kind="Forward", algorithm=0) for number in range(num_odd)]
    other = [CALL.format(number=200, kind="BackwardFilter", algorithm=16)]
    return OPERANDS + "".join([*usual, *odd, *other])


def test_convolutions_of_reads_shapes_and_choices() -> None:
    first, *_, last = convolutions_of(program(1, 0))
    assert first == Convolution(
        name="conv.0",
        operation="jit(train_step)/backbone/block_0/spatial_conv",
        kind="convForward",
        algorithm="5",
        groups=8,
        shapes=(("bf16", (4, 16, 16, 8)), ("bf16", (8, 3, 3, 1)), ("bf16", (4, 16, 16, 8))),
        window="size=3x3 pad=1_1x1_1",
        labels="b01f_o01i->b01f",
    )
    assert first.num_bytes == 2 * (2 * 4 * 16 * 16 * 8 + 72)
    assert (last.kind, last.algorithm) == ("convBackwardFilter", "16")


def test_convolutions_of_a_cpu_program_are_none() -> None:
    assert convolutions_of("  %conv = f32[1,2,2,4]{3,2,1,0} convolution(%a, %b), window={size=1x1}\n") == []


def test_odd_choices_are_those_that_others_of_the_kind_do_not_have() -> None:
    odd = odd_choices(convolutions_of(program(40, 2)))
    assert [each.name for each in odd] == ["conv.100", "conv.101"]


@pytest.mark.parametrize(("num_usual", "num_odd"), [(40, 0), (5, 1), (20, 20)])
def test_odd_choices_need_a_usual_one(num_usual: int, num_odd: int) -> None:
    assert odd_choices(convolutions_of(program(num_usual, num_odd))) == []


def test_arguments_of_repeat_the_convolution() -> None:
    jax = pytest.importorskip("jax")
    forward, backward = convolutions_of(program(1, 0))
    image, kernel = np.ones((4, 16, 16, 8), "float32"), np.ones((8, 3, 3, 1), "float32")
    result = jax.lax.conv_general_dilated(image, kernel, **arguments_of(forward))
    assert result.shape == (4, 16, 16, 8)
    assert float(result[0, 5, 5, 0]) == 9.0
    seconds = seconds_alone(forward, rounds=1, calls=1)
    assert seconds is not None
    assert seconds > 0
    assert seconds_alone(backward) is None
