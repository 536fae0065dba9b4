import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.dataset import SOURCE_FORMATS, DatasetOptions
from efficientdet_pipeline.options.schema import compose
from tfrmod.sources import SOURCES


def test_the_formats_are_those_of_the_sources() -> None:
    assert ("", *SOURCES) == SOURCE_FORMATS


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"source_format": "vok"}, "did you mean voc"),
        ({"prepare_size": -1}, "prepare_size must be 0 or more pixels"),
    ],
)
def test_contradictions_are_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(OptionsError, match=words):
        compose(DatasetOptions, url_dataset="photos", **given)
