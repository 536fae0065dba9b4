"""Segmentation task: options, column names, and a whole run from mask images to inference."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_class_networks import write_discs

import efficientdet_pipeline as edp
from efficientdet_pipeline.cli import main
from efficientdet_pipeline.data.dataset_info import find_shards
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.models.segmentation import SegmentationNetwork, unet_config
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs.run_dir import RunFolder
from efficientdet_pipeline.tasks import task_named
from efficientdet_pipeline.tasks.segmentation import SegmentationSetup, augment_config


def options(**given: object) -> TrainOptions:
    return compose(TrainOptions, **{"url_dataset": "demo", "model_name": "unet-efficientnet-lite0", **given})


def test_segmentation_task_follows_the_model_name_or_the_option() -> None:
    assert [options(**given).model.task_name for given in ({}, {"model_name": ""}, {"task": "detection"})] == [
        *("segmentation", "detection", "detection"),
    ]
    assert options(model_name="", task="segmentation").model.task_name == "segmentation"


def test_segmentation_image_size_is_that_of_the_option_or_256() -> None:
    task, name = task_named("segmentation"), "unet-efficientnet-lite0"
    assert task.image_size(name, options(), HparamsGiven()) == (256, 256)
    assert task.image_size(name, options(image_size="96x64"), HparamsGiven()) == (64, 96)


@pytest.mark.parametrize(
    ("given", "name", "message"),
    [
        ({}, "unet-efficientnet-b9", r"model_name of a segmentation must be .*did you mean unet-efficientnet-b\d"),
        ({"segmentation_loss": "dice+hinge"}, "unet-efficientnet-b0", "segmentation_loss: .*'hinge' is none of them"),
    ],
)
def test_segmentation_image_size_refuses_what_cannot_be_built(given: dict, name: str, message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        task_named("segmentation").image_size(name, options(**given), HparamsGiven())


def test_segmentation_setup_of_a_description_is_that_network_again() -> None:
    network = SegmentationNetwork(
        unet_config("unet++-efficientnet-lite0", options(scse=True).segmentation, num_classes=3), {}, (64, 96)
    )
    setup = task_named("segmentation").setup_of_description(network.as_dict(), options(), max_instances=1)
    assert setup.network == network
    images, maps = setup.random_batch(2)
    assert (images.shape, maps.shape) == ((2, 64, 96, 3), (2, 64, 96))


def test_segmentation_layout_has_a_column_for_each_term_of_the_loss() -> None:
    network = SegmentationNetwork(unet_config("unet-efficientnet-lite0", options().segmentation, num_classes=2), {})
    given = options(segmentation_loss="bce+0.5*dice")
    layout = SegmentationSetup(options=given, network=network, shards=None).layout
    assert (layout.losses, layout.primary) == (("bce_loss", "dice_loss"), "mIoU")
    assert {"mIoU", "Dice", "boundary_F1"} <= set(layout.columns)


def test_augment_config_takes_the_options_and_nothing_without_augment() -> None:
    config = augment_config(options(jitter_min=0.8, hsv_hue=0.1, input_rand_hflip=False), (64, 64))
    turned = augment_config(options(input_rand_vflip=True, max_rotation=9.0), (64, 64))
    assert (turned.vertical_flip, turned.rotation) == (0.5, 9.0)
    assert (config.jitter_min, config.hsv_hue, config.horizontal_flip) == (0.8, 0.1, 0.0)
    plain = augment_config(options(augment=False, hsv_hue=0.1), (64, 64))
    assert (plain.jitter_min, plain.jitter_max, plain.horizontal_flip, plain.hsv_hue) == (1.0, 1.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a run of one epoch on discs of two classes."""
    folder = tmp_path_factory.mktemp("segmentation")
    write_discs(folder / "data")
    arguments = [
        *("--task=segmentation", f"--data_dir={folder / 'data'}", f"--model_dir={folder / 'run'}", "--batch_size=2"),
        *("--model_name=unet-efficientnet-lite0", "--image_size=64", "--num_epochs=1", "--pretrained_ckpt=none"),
        *("--optimizer=adam", "--learning_rate=0.03", "--source_format=semantic_masks", "--formats=saved_model"),
        *("--input_rand_vflip", "--max_rotation=15"),
    ]
    assert main(arguments) == 0
    return folder / "run"


def test_segmentation_run_writes_metrics_pictures_and_export(run_folder: Path) -> None:
    metrics = json.loads((run_folder / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics["per_class"]) == ["background", "1", "2"]
    assert metrics["mIoU"] == pytest.approx(np.mean(list(metrics["per_class"].values())))
    assert (run_folder / "pictures/validation.png").is_file()
    page = (run_folder / "report/index.html").read_text(encoding="utf-8")
    assert "Mean IoU" in page
    assert "Worst images" in page
    header = (run_folder / "results.csv").read_text(encoding="utf-8").splitlines()[0]
    assert {"cross_entropy_loss", "mIoU"} <= set(header.split(","))


def test_segmentation_of_given_shards_has_the_classes_of_their_manifest(run_folder: Path, tmp_path: Path) -> None:
    shards = run_folder / "tfrecords"
    given = {"train_file_pattern": f"{shards}/train-*", "val_file_pattern": f"{shards}/val-*", "url_dataset": ""}
    folder = RunFolder(tmp_path, tmp_path / "export", tmp_path / "tfrecords", tmp_path)
    found = find_shards(options(**given), folder, "", 64, HparamsGiven())
    setup = task_named("segmentation").setup("unet-efficientnet-lite0", options(**given), HparamsGiven(), found)
    assert setup.network.label_map == {0: "background", 1: "1", 2: "2"}
    named = find_shards(options(**given, label_map="a,b"), folder, "", 64, HparamsGiven())
    assert named.label_map == {1: "a", 2: "b"}


def test_segmentation_is_predicted_alike_by_checkpoint_and_saved_model(run_folder: Path, tmp_path: Path) -> None:
    image = run_folder.parent / "data/images/0.png"
    for name, source in (("a", f"--model_dir={run_folder}"), ("b", f"--saved_model_dir={run_folder}/export")):
        out = tmp_path / name
        assert main(["--mode=infer", source, f"--input_image={image}", f"--output_image_dir={out}"]) == 0
    masks = [np.asarray(Image.open(tmp_path / name / "masks/0.png")) for name in "ab"]
    assert masks[0].shape == (48, 40)
    np.testing.assert_array_equal(*masks)
    entries = json.loads((tmp_path / "a/segments.json").read_text(encoding="utf-8"))
    assert sum(entry["area"] for entry in entries) == np.count_nonzero(masks[0])
    assert (tmp_path / "a/0.png").is_file()


def test_segmenter_finds_the_same_in_a_file_and_an_array(run_folder: Path) -> None:
    path = run_folder.parent / "data/images/0.png"
    by_file, by_array = edp.Segmenter(run_folder)([path, np.asarray(Image.open(path))])
    np.testing.assert_array_equal(by_file.class_map, by_array.class_map)
    assert by_file.probabilities.shape == (48, 40, 3)
    assert sum(by_file.shares.values()) == pytest.approx(1)
    with pytest.raises(edp.OptionsError, match=r"must be a classification network\. Received the segm"):
        edp.Classifier(run_folder)
    with pytest.raises(edp.OptionsError, match="tile is for detectors"):
        edp.Segmenter(run_folder, tile="64x64")


def test_features_of_a_segmentation_are_its_encoders(run_folder: Path, tmp_path: Path, capsys) -> None:
    path = run_folder.parent / "data/images/0.png"
    given = ["--mode=features", f"--path_ckpt={run_folder}", f"--input_image={path}", f"--output_dir={tmp_path}"]
    assert main([*given, "--layer=blok_3"]) == 2
    assert "Unknown layer 'blok_3'. Similar names: block_3" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main([*given, "--model_name=efficientnet-b0"]) == 2
    assert "model_name must be the encoder of" in capsys.readouterr().err
    assert main(given) == 0
    assert "100% of the normalizations have updated statistics" in capsys.readouterr().out
    with np.load(tmp_path / "0.png.npz") as written:
        assert written["reduction_5"].shape == (2, 2, 320)


def test_segmentation_refuses_a_run_of_another_encoder(run_folder: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    given = [f"--data_dir={tmp_path / 'empty'}", f"--model_dir={tmp_path / 'run'}", f"--backbone_ckpt={run_folder}"]
    assert main(["--task=segmentation", "--model_name=unet-efficientnet-b0", *given]) == 65
    message = capsys.readouterr().err
    assert "must contain the backbone efficientnet-b0. It contains efficientnet-lite0. (--backbone_ckpt)" in message
    assert "Try --model_name=unet-efficientnet-lite0" in message


def test_segmentation_masks_of_equal_stems_do_not_replace_each_other(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, number in (("a.png", 0), ("a.bmp", 1)):
        Image.open(run_folder.parent / f"data/images/{number}.png").save(tmp_path / "in" / name)
    arguments = [f"--input_image={tmp_path / 'in'}", f"--output_image_dir={tmp_path / 'out'}"]
    assert main(["--mode=infer", f"--model_dir={run_folder}", *arguments]) == 0
    assert sorted(path.name for path in (tmp_path / "out/masks").iterdir()) == ["a-2.png", "a.png"]


def test_segmentation_is_evaluated_as_at_the_end_of_training(run_folder: Path) -> None:
    assert main(["--mode=eval", f"--model_dir={run_folder}"]) == 0
    again = json.loads((run_folder / "metrics_eval.json").read_text(encoding="utf-8"))
    metrics = json.loads((run_folder / "metrics.json").read_text(encoding="utf-8"))
    assert again["mIoU"] == pytest.approx(metrics["mIoU"], abs=1e-6)


def test_segmentation_report_is_written_again_from_the_run_alone(run_folder: Path) -> None:
    page = run_folder / "report/index.html"
    page.unlink()
    assert main(["--mode=report", f"--model_dir={run_folder}"]) == 0
    assert "Worst images" in page.read_text(encoding="utf-8")


def test_segmentation_export_is_evaluated_beside_the_run(run_folder: Path) -> None:
    assert main(["--mode=eval", f"--saved_model_dir={run_folder / 'export'}", "--eval_samples=2"]) == 0
    (place,) = (run_folder / "evaluations").iterdir()
    metrics = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
    assert 0 <= metrics["mIoU"] <= 1
    assert (place / "report/index.html").is_file()
    assert main(["--mode=eval", f"--model_dir={run_folder}", "--tta=flip"]) == 2


def test_segmentation_checkpoint_that_does_not_fit_is_refused(run_folder: Path, tmp_path: Path) -> None:
    best = run_folder / "checkpoints/best"
    (tmp_path / "hparams_config.yaml").write_text((best / "hparams_config.yaml").read_text(encoding="utf-8"))
    (tmp_path / "model.weights.h5").write_bytes((best / "model.weights.h5").read_bytes()[:5000])
    assert main(["--mode=export", f"--path_ckpt={tmp_path}", f"--path_output={tmp_path / 'out'}"]) == 65
    assert not (tmp_path / "out").exists()
