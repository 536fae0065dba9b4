"""Kernels and bytes of a compiled program, from its text."""

from gpu_plan import Kernel, bytes_of, kernels_of

PROGRAM = """HloModule step

%inner (a: f32[8]) -> f32[8] {
  %ignored = f32[8]{0} add(%a, %a)
}

ENTRY %main (x: bf16[4,8], w: f32[]) -> f32[8] {
  %x = bf16[4,8]{1,0} parameter(0)
  %w = f32[] parameter(1)
  %loop_convert_fusion.3 = (f32[8]{0}, bf16[4,8]{1,0}) fusion(%x, %w), kind=kLoop, metadata={op_name="a/b"}
  %first = f32[8]{0} get-tuple-element(%loop_convert_fusion.3), index=0
  %wrapped_slice.1 = bf16[1,8]{1,0} fusion(%x), kind=kLoop, calls=%inner
  ROOT %call = f32[8]{0} custom-call(%first, %x), custom_call_target="__cudnn$convForward"
}
"""


def test_kernels_of_counts_what_is_read_and_written() -> None:
    assert kernels_of(PROGRAM) == [
        Kernel("loop_convert_fusion.3", "loop_convert_fusion", "a/b", (32 + 64) + (64 + 4)),
        Kernel("wrapped_slice.1", "wrapped_slice", "", 16 + 16),
        Kernel("call", "__cudnn$convForward", "", 32 + 32 + 64),
    ]


def test_kernels_of_a_text_without_a_program_are_none() -> None:
    assert kernels_of("") == []


def test_bytes_of_a_tuple_are_those_of_its_parts() -> None:
    assert bytes_of("(bf16[2,3]{1,0}, pred[5]{0}, f32[])") == 12 + 5 + 4
