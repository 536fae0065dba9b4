"""Class names of --hparams take precedence over those beside the weights, for checkpoints and exports."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.models.class_names import chosen_class_names
from efficientdet_pipeline.models.description import described_beside
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.label_map import LabelMapValue

OWN = {1: "circle", 2: "square", 3: "star", 4: "triangle"}
BESIDE = Path("label_map.yaml")
Said = Callable[[], Any]


def chosen(given: LabelMapValue, own: dict[int, str] | None = None, num_classes: int | None = 4) -> dict[int, str]:
    own = OWN if own is None else own
    return chosen_class_names(HparamsGiven(label_map=given), own, num_classes=num_classes, described_by=BESIDE)


@pytest.mark.parametrize(
    "given",
    [{1: "a", 2: "b", 3: "c", 4: "d"}, "{1:a,2:b,3:c,4:d}", "a,b,c,d", ["a", "b", "c", "d"], {"a": "1", "b": "2"}],
)
def test_names_of_hparams_take_precedence_over_the_own(given: object) -> None:
    names = chosen(given)
    assert (names[1], names[2]) == ("a", "b")
    assert len(names) == 4


def test_names_that_are_not_given_stay() -> None:
    assert chosen({2: "box"}) == {1: "circle", 2: "box", 3: "star", 4: "triangle"}
    assert chosen(None) == OWN
    assert chosen("coco", {}, 90)[90] == "toothbrush"
    assert chosen({1: "yes", 2: "no"}, {}, None) == {1: "yes", 2: "no"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("coco", r"must name the 4 classes of the network.*ids up to 90"),
        ("a,b,c,d,e", r"must name the 4 classes"),
        ("square,circle", r"the id that it has in training\. Received 1 for 'square', which is 2"),
        ({"circle": 2}, r"Received 2 for 'circle', which is 1"),
        ({1: ["a"]}, r"label_map of --hparams"),
    ],
)
def test_names_that_contradict_are_refused(given: object, sentence: str) -> None:
    with pytest.raises(OptionsError, match=sentence):
        chosen(given)


def test_the_classes_of_an_export_are_beside_it(tmp_path: Path) -> None:
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "label_map.yaml").write_text("1: no\n2: 010\n")
    (tmp_path / "hparams_config.yaml").write_text("num_classes: 2\n")
    for path in (tmp_path, tmp_path / "saved_model", tmp_path / "x_frozen.pb"):
        assert described_beside(path) == ({1: "no", 2: "010"}, 2, tmp_path / "label_map.yaml")
    assert described_beside(tmp_path / "elsewhere" / "deeper" / "x.pb")[:2] == ({}, None)


@pytest.mark.parametrize("text", ["1: &a [x]\n2: *a\n", "a: b\n", "- x\n", "1: [a]\n"])
def test_a_label_map_beside_an_export_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "label_map.yaml").write_text(text)
    with pytest.raises(DataError, match=r"label_map\.yaml must"):
        described_beside(tmp_path)


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "- x\n", "\tx: 1\n"])
def test_described_beside_refuses_a_damaged_description(text: str, tmp_path: Path) -> None:
    (tmp_path / "label_map.yaml").write_text("1: a\n")
    (tmp_path / "hparams_config.yaml").write_text(text)
    with pytest.raises(DataError, match=r"hparams_config\.yaml must .*--mode=export"):
        described_beside(tmp_path)


def test_a_checkpoint_takes_the_names_of_hparams(
    main: Callable[..., int], copied_run: Path, said: Said, tmp_path: Path
) -> None:
    assert main("--mode=eval", "--eval_samples=1", "--hparams=label_map={1:a,2:b,3:c,4:d}") == 0
    printed = said()
    assert "a     " in printed.out or "\na " in printed.out
    assert "The class names are those of --hparams (1 a, 2 b, 3 c, 4 d)" in printed.err
