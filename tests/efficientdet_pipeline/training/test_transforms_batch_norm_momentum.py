import pytest

from efficientdet_pipeline.training.transforms import batch_norm_momentum


@pytest.mark.parametrize(("asked", "num_steps", "expected"), [(None, 100_000, 0.99), (None, 400, 0.95), (0.9, 7, 0.9)])
def test_batch_norm_momentum_is_smaller_for_a_short_run(asked: float | None, num_steps: int, expected: float) -> None:
    assert batch_norm_momentum(asked, num_steps) == pytest.approx(expected)
    if asked is None:
        assert expected**num_steps < 1e-8


def test_batch_norm_momentum_has_a_lower_limit() -> None:
    assert batch_norm_momentum(None, 3) == 0.5
