"""SVG charts."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from efficientdet_pipeline.report.contents import Chart, Series
from efficientdet_pipeline.report.svg_charts import HEIGHT, WIDTH, line_chart, reliability_chart, stacked_bars


def coordinates(markup: str) -> list[tuple[float, float]]:
    lines = re.findall(r'class="line [^"]*" d="([^"]*)"', markup)
    return [(float(x), float(y)) for line in lines for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", line)]


def test_line_chart_stays_in_its_frame() -> None:
    markup = line_chart(Chart("T", "x", "y", [Series("a", [1, 2, 3], [1e6, 5, 0.1]), Series("b", [1, 3], [2, 4])]))
    ET.fromstring(markup)
    points = coordinates(markup)
    assert len(points) == 5
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert "a ends at 0.1; b ends at 4" in markup


def test_line_chart_leaves_gaps_where_there_is_no_number() -> None:
    markup = line_chart(Chart("T", "x", "y", [Series("a", [1, 2, 3, 4], [1, float("nan"), 3, 4])]))
    assert len(re.findall(r"M", re.findall(r' d="(M[^"]*L[^"]*)"', markup)[0])) == 2


@pytest.mark.parametrize("values", [[], [float("nan")], [3.0], [2.0, 2.0], [-5.0, 5.0]])
def test_line_chart_takes_any_values(values: list[float]) -> None:
    ET.fromstring(line_chart(Chart("<T>", "x", "y", [Series("<a>", list(range(len(values))), values)])))


def test_line_chart_thins_long_lines_and_greys_many() -> None:
    series = [Series(str(n), list(range(5000)), np.arange(5000.0).tolist()) for n in range(10)]
    markup = line_chart(Chart("T", "x", "y", series), bold="9")
    assert len(coordinates(markup)) == 10 * 400
    assert markup.count('class="line rest"') == 1
    assert markup.count('class="line bold"') == 1


def test_bars_count_what_they_show() -> None:
    edges = np.linspace(0, 1, 5)
    layers = [("right", np.array([0, 1, 2, 3])), ("wrong", np.array([4, 0, 0, 0]))]
    markup = stacked_bars("T", "score", "n", edges, layers)
    ET.fromstring(markup)
    assert markup.count("<rect") == 4
    assert "6 right, 4 wrong" in markup
    reliable = reliability_chart("T", edges, np.array([np.nan, 0.5, 1, 0]), np.array([0, 2, 2, 2]))
    assert reliable.count("<rect") == 3
    assert "50% of 2 correct" in reliable
