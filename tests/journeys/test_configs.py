"""Each page in configs/ is taken as it stands, describes a network, and says what it should yield."""

import re
import shlex
from pathlib import Path

import efficientdet
import pytest

from efficientdet_pipeline.commands import DEFAULT_MODE, MODES
from efficientdet_pipeline.models.segmentation import MODELS
from efficientdet_pipeline.options.hparams import network_overrides, read_hparams
from efficientdet_pipeline.options.parser import Reader
from efficientdet_pipeline.options.training import TrainOptions

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "configs").glob("*.config"))
SITUATIONS = {
    "tiny-data",
    "small-data-finetune",
    "small-data-backbone",
    "small-data-scratch",
    "voc2012-from-backbone",
    "voc2012-finetune",
    "coco-d0",
    "tpu-pod",
    "lite-for-phones",
}


def test_every_situation_has_its_page() -> None:
    assert {page.stem for page in PAGES} >= SITUATIONS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_opens(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    [command] = re.findall(r"^#   python3 main\.py (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    reader = Reader({name: mode.options_class() for name, mode in MODES.items()}, DEFAULT_MODE)
    options = reader.build(reader.read(shlex.split(command), {}), TrainOptions)
    assert options.general.mode == "traineval"
    assert options.optimizer.num_epochs > 1
    hparams = read_hparams(options.model.hparams, page.name, type(options))
    if options.model.task_name == "segmentation":
        assert options.model.model_name in MODELS
    else:
        config = efficientdet.get_config(options.model.model_name, **network_overrides(options.model, hparams))
        assert config.image_size


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_to_expect(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.search(r"^# Expect: .{20}", text, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_config_says_first_which_weights_it_starts_from(page: Path) -> None:
    opening = page.read_text(encoding="utf-8").partition("# Expect:")[0]
    assert re.search(r"COCO weights|backbone|pretrained weights|shards", opening, re.IGNORECASE), opening


def test_config_average_has_an_effect_in_runs_as_short() -> None:
    """The decay is at most (1 + t) / (10 + t) at step t, which reaches .999 at step 8,990 and .99 at 890."""
    for page in PAGES:
        if page.stem.startswith(("small-data", "tiny-data")):
            given = re.findall(r"^--moving_average_decay=(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert all(float(decay) <= 0.99 for decay in given), page.stem
