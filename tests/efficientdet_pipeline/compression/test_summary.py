"""compression.json and its section of the report."""

import re
from pathlib import Path

import keras
import numpy as np

from efficientdet_pipeline.compression.kernels import compressible_kernels, overall_sparsity, sparsity_by_layer
from efficientdet_pipeline.compression.summary import read_summary, summarize, write_summary
from efficientdet_pipeline.report.contents import ReportContents
from efficientdet_pipeline.report.page import report_page


def network() -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="dense")], name="net")
    model.layers[0].kernel.assign(np.array([[0, 1, 1], [0, 2, 0]], "float32"))
    return model


def test_summarize_counts_zeros_and_values(tmp_path: Path) -> None:
    summary = summarize(network(), {"prune": "0.5"})
    assert [(each.weights, each.zeros, each.values) for each in summary.kernels] == [(6, 3, 3)]
    assert summary.sentence() == "1 kernels with 6 weights: 50.0 % zeros, at most 3 different values in a kernel"
    path = tmp_path / "compression.json"
    assert read_summary(path) is None
    write_summary(path, summary)
    assert read_summary(path) == summary
    path.write_text("{}", encoding="utf-8")
    assert read_summary(path) is None


def test_summary_is_a_section_of_the_report() -> None:
    page = report_page(ReportContents("Run", compression=summarize(network(), {"prune": "0.5"})))
    # Flags are marked up.
    assert "Trained with --prune=0.5. 1 kernels with 6 weights: 50.0 % zeros" in re.sub(r"<[^>]*>", "", page)
    assert 'href="#compression"' in page
    assert "Compression" not in report_page(ReportContents("Run"))


def test_kernels_give_their_sparsity_by_name() -> None:
    kernels = compressible_kernels(network())
    assert overall_sparsity(kernels) == 0.5
    assert list(sparsity_by_layer(kernels).values()) == [0.5, 0.5]
