"""Listeners are told of checkpoints for as long as they listen."""

from pathlib import Path

from efficientdet_pipeline.runs.checkpoint_listeners import checkpoint_written, listening


def test_listening_ends_with_its_context() -> None:
    told: list[Path] = []
    with listening(told.append):
        checkpoint_written(Path("a"))
    checkpoint_written(Path("b"))
    assert told == [Path("a")]
