"""Fixtures for the tests of the visualization."""

import pytest
from PIL import ImageFont

from efficientdet_pipeline.visualize.annotated_figure import Style


@pytest.fixture
def style() -> Style:
    """Returns a style whose colours encode the class ids."""
    return Style(lambda class_id: (255, class_id, 0), ImageFont.load_default, {1: "cat", 2: "dog"})
