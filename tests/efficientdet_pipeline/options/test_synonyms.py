"""Names of options and modes in other tools lead to the names used here."""

import pytest

from efficientdet_pipeline.commands import DEFAULT_MODE, MODES
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options import synonyms
from efficientdet_pipeline.options.parser import Reader


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader({name: mode.options_class() for name, mode in MODES.items()}, DEFAULT_MODE)


def test_synonyms_lead_to_options_that_exist(reader: Reader) -> None:
    known = {*reader.known, *reader.alias_of}
    assert {*synonyms.OPTIONS.values(), *synonyms.ALSO} <= known
    assert set(synonyms.MODES.values()) <= MODES.keys()


@pytest.mark.parametrize(
    ("typed", "advice"),
    [
        *((name, "--pretrained_ckpt") for name in ("weights", "ckpt", "init_checkpoint", "pretrained", "checkpoint")),
        *((name, "--backbone_ckpt") for name in ("backbone", "backbone_weights", "imagenet", "imagenet-weights")),
        *((name, "--min_score_thresh") for name in ("conf", "conf-thres", "confidence", "score_threshold")),
        *((name, "--learning_rate") for name in ("lr", "LR", "lr0")),
        *((name, "--num_epochs") for name in ("epochs", "Epochs", "num_epoch", "max-epochs")),
        *((name, "--batch_size") for name in ("batch", "bs", "batch-size", "train_batch_size")),
        *((name, "--image_size") for name in ("imgsz", "img", "img-size")),
        *((name, "--strategy") for name in ("device", "gpus")),
        *((name, "--url_dataset") for name in ("data", "dataset")),
        ("resume", "the same command"),
        ("resume_from", "resumes a run from its last checkpoint"),
        ("source", "--input_image"),
        ("project", "--workspace"),
        ("name", "--run_name"),
        ("weigths", "--pretrained_ckpt"),
        ("predict", "--mode=infer"),
        ("train", "--mode=train"),
        ("iou", "--hparams=nms_configs.iou_thresh=0.5"),
        ("exist-ok", "--overwrite"),
        ("v", "--version"),
    ],
)
def test_an_option_by_another_name_is_reported_by_our_name(reader: Reader, typed: str, advice: str) -> None:
    with pytest.raises(OptionsError, match=f"Unknown option --{typed}, from the command line; .*{advice}"):
        reader.read([f"--{typed}=3"], {})


@pytest.mark.parametrize(
    ("typed", "mode"),
    [
        *((name, "infer") for name in ("predict", "detect", "inference", "Predict", "predct")),
        *((name, "eval") for name in ("val", "validate", "evaluate", "test", "EVAL", "eva")),
        *((name, "dataset") for name in ("convert", "prepare", "tfrecords")),
        *((name, "export") for name in ("freeze", "saved_model", "exprt")),
        ("fit", "train"),
        ("train_and_eval", "traineval"),
        ("check", "doctor"),
    ],
)
def test_a_mode_by_another_name_is_reported_by_our_name(reader: Reader, typed: str, mode: str) -> None:
    with pytest.raises(OptionsError, match=rf"Received '{typed}' from the command line; did you mean {mode}\?"):
        reader.read([f"--mode={typed}"], {})
