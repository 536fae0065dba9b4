"""Descriptions of segmentation and classification: distinguished, read and refused."""

import dataclasses
from pathlib import Path

import pytest
from small_class_networks import CLASSIFICATION, SEGMENTATION

from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.models.class_networks import class_task_of, read_class_network
from efficientdet_pipeline.models.classification import check_classifier_name, classification_network_of


@pytest.mark.parametrize("network", [SEGMENTATION, CLASSIFICATION])
def test_read_class_network_reads_what_was_written(network: object, tmp_path: Path) -> None:
    network.write(tmp_path / "n.yaml")  # type: ignore[attr-defined]
    assert read_class_network(tmp_path / "n.yaml") == network
    assert class_task_of(tmp_path / "n.yaml") == network.task  # type: ignore[attr-defined]


def test_class_task_of_a_detector_or_nothing_is_empty(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text("name: efficientdet-d0\n")
    assert [class_task_of(tmp_path / name) for name in ("d.yaml", "missing.yaml")] == ["", ""]


def test_read_class_network_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no description"):
        read_class_network(tmp_path / "n.yaml")
    (tmp_path / "n.yaml").write_text("task: classification\nname: efficientnet-b0\n")
    with pytest.raises(OptionsError, match="must describe a classifier"):
        read_class_network(tmp_path / "n.yaml")


def test_classification_network_names_its_columns(tmp_path: Path) -> None:
    again = classification_network_of({**CLASSIFICATION.as_dict(), "label_map": {0: "x"}}, "here")
    assert again.names == ("x", "1", "2")
    renamed = dataclasses.replace(CLASSIFICATION, trained_names={0: "cat"})
    renamed.write(tmp_path / "n.yaml")
    assert read_class_network(tmp_path / "n.yaml") == renamed
    with pytest.raises(OptionsError, match=r"Received 'efficientnet-b9'; did you mean efficientnet-b\d"):
        check_classifier_name("efficientnet-b9")
