"""A list of named steps is read with every default, and errors in it are reported."""

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.transforms import Step, read_steps


def test_steps_have_their_defaults() -> None:
    steps = read_steps("[{name: RandomScale}, HorizontalFlip, {name: LongestMaxSize, max_size: 300, p: 0.2}]")
    assert steps == (
        Step("RandomScale", 0.5, {"scale_limit": 0.1, "interpolation": "bilinear"}),
        Step("HorizontalFlip", 0.5),
        Step("LongestMaxSize", 0.2, {"max_size": 300, "interpolation": "bilinear"}),
    )


def test_steps_may_hold_steps() -> None:
    (outer,) = read_steps("[{name: OneOf, p: 0.3, list_pipeline: [{name: compose, list_pipeline: [HorizontalFlip]}]}]")
    assert (outer.name, outer.probability, outer.steps[0].name) == ("OneOf", 0.3, "compose")
    assert outer.steps[0].steps == (Step("HorizontalFlip", 0.5),)


@pytest.mark.parametrize("text", ["", "[]", "null"])
def test_nothing_is_no_steps(text: str) -> None:
    assert read_steps(text) == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[", r"Steps must be a YAML list\. Received '\['"),
        ("[" * 5000, r"Steps must be a YAML list\. Received '\[{199}: "),
        ("{name: resize}", r"Steps must be a list"),
        ("[3]", r"A step must have a name\. Received 3; try \{name: CenterCrop"),
        ("[{name: centercrop}]", r"Unknown step 'centercrop'; did you mean CenterCrop\?"),
        ("[RandomResized]", r"Unknown step 'RandomResized'; did you mean RandomResizedCrop\?"),
        ("[xyz]", r"Unknown step 'xyz'; known: CenterCrop, "),
        ("[Normalize]", r"Normalize is not an augmentation step: every image is normalized"),
        ("[InputReadRecordFiles]", r"--train_file_pattern names the shards"),
        ("[CenterCrop]", r"CenterCrop must have height and width\. Received \{\}"),
        ("[{name: CenterCrop, height: 3, widht: 3}]", r"CenterCrop has no argument 'widht'; did you mean width\?"),
        ("[{name: resize, height: 0, width: 3}]", r"height of resize must be an integer above 0\. Received 0"),
        ("[{name: resize, height: 2.5, width: 3}]", r"Received 2\.5"),
        ("[{name: HorizontalFlip, p: 2}]", r"p of HorizontalFlip must be between 0 and 1\. Received 2"),
        (
            "[{name: HorizontalFlip, deterministic: 'true'}]",
            r"deterministic of HorizontalFlip is set by the input pipeline",
        ),
        ("[{name: LongestMaxSize, interpolation: cubic}]", r"must be one of bilinear, nearest.*Received 'cubic'"),
        ("[{name: RandomScale, scale_limit: 1}]", r"at least 0 and below 1\. Received 1"),
        (
            "[{name: RandomSized, min_max_height: [9, 3], height: 3, width: 3}]",
            r"min_max_height of RandomSized must be a pair.*smaller first",
        ),
        (
            "[{name: RandomResizedCrop, height: 3, width: 3, scale: [0.5, 2]}]",
            r"scale of RandomResizedCrop .*fractions of the image's area",
        ),
        ("[{name: OneOf, list_pipeline: []}]", r"OneOf must have steps to choose from"),
    ],
)
def test_what_is_wrong_is_reported(text: str, sentence: str) -> None:
    with pytest.raises(OptionsError, match=sentence) as told:
        read_steps(text)
    assert told.value.option == "augment_steps"
