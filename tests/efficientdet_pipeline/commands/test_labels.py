from pathlib import Path

import pytest

from efficientdet_pipeline.commands.labels import read_label_aliases, read_label_map
from efficientdet_pipeline.errors import MissingError, OptionsError


def test_a_label_map_is_a_file_or_a_list(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text("label_map:\n  3: bird\n  7: dog\n")
    (tmp_path / "plain.yml").write_text("1: cat\n")
    (tmp_path / "names.txt").write_text("cat\n\ndog\n")
    assert read_label_map("") is None
    assert read_label_map("cat, dog") == read_label_map(str(tmp_path / "names.txt")) == {1: "cat", 2: "dog"}
    assert read_label_map(str(tmp_path / "map.yaml")) == {3: "bird", 7: "dog"}
    assert read_label_map(str(tmp_path / "plain.yml")) == {1: "cat"}


@pytest.mark.parametrize("content", ["- cat\n", "{a: 1}\n", "a: [\n", "", "label_map: 3\n", "[" * 5000])
def test_a_label_map_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "map.yaml").write_text(content)
    with pytest.raises(OptionsError, match="label_map must be a YAML file") as caught:
        read_label_map(str(tmp_path / "map.yaml"))
    assert caught.value.option == "label_map"


def test_aliases_are_pairs_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "aliases.yaml").write_text("redcell: RBC\n'7': seven\n")
    assert read_label_aliases("") is None
    assert read_label_aliases("redcell=RBC, rbc = RBC") == {"redcell": "RBC", "rbc": "RBC"}
    assert read_label_aliases(str(tmp_path / "aliases.yaml")) == {"redcell": "RBC", "7": "seven"}


@pytest.mark.parametrize("given", ["redcell", "redcell=", "=RBC", "a=b,,c=d"])
def test_aliases_without_a_name_are_refused(given: str) -> None:
    with pytest.raises(OptionsError, match="pairs variant=name") as caught:
        read_label_aliases(given)
    assert caught.value.option == "label_aliases"


def test_a_file_that_is_not_there_is_missing() -> None:
    with pytest.raises(MissingError, match="label_aliases names a file that is not there"):
        read_label_aliases("nowhere.yaml")


@pytest.mark.parametrize("name", ["names.txt", "obj.names", "map.yaml"])
def test_a_file_that_is_not_there_is_no_class(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingError, match=f"label_map names a file that is not there: '.*{name}'"):
        read_label_map(str(tmp_path / name))
