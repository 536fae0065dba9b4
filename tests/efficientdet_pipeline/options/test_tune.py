"""Options of a study are checked, and options that it sets are reported."""

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.schema import compose, options_without_effect
from efficientdet_pipeline.options.tune import StudyOptions, TuneOptions


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_trials", 0), ("prune_after", -1), ("startup_trials", 0), ("pruner", "best"), ("sampler", "grid")],
)
def test_study_options_are_checked(name: str, value: object) -> None:
    with pytest.raises(OptionsError, match=f"{name} must be .*Received {value!r}"):
        compose(StudyOptions, space="space.yaml", **{name: value})
    with pytest.raises(OptionsError, match="space must name a YAML file"):
        compose(StudyOptions)


def test_tune_options_tell_what_has_no_effect() -> None:
    options = compose(TuneOptions, mode="tune", space="s", url_dataset="a.zip", pruner="none")
    assert {"run_name", "formats", "analysis", "prune_after"} <= options_without_effect(options).keys()
    with pytest.raises(OptionsError, match="val_file_pattern must be a glob"):
        compose(TuneOptions, mode="tune", space="s", train_file_pattern="a*")
