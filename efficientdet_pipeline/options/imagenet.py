"""Options of --mode=classify and --mode=features."""

from dataclasses import dataclass

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.general import NAMES_A_RUN, ModeOptions, RunOptions
from efficientdet_pipeline.options.schema import Options, check, option


@dataclass(frozen=True, kw_only=True)
class EfficientNetOptions(Options):
    """EfficientNet."""

    model_name: str = option(
        "",
        "Network: efficientnet-b0 … b7, efficientnet-lite0 … lite4. Default: that of path_ckpt, otherwise "
        "efficientnet-lite0.",
    )
    path_ckpt: str = option(
        "",
        "ImageNet checkpoint: a path, a URL or a published name. Default: the published one of model_name, from the "
        "cache, an installed package or the web. classify also takes a run of --task=classification, its checkpoint or "
        "its export; features a run or a checkpoint of any task, and none: random weights.",
        path="path",
    )
    cache_dir: str = option(
        "",
        "Folder of the cache; checkpoints are in its subfolder checkpoints. Default: `~/.cache/efficientdet`.",
        path="path",
    )
    advprop: bool = option(
        False,
        "The checkpoint is one of google/automl's AdvProp, with inputs from -1 to 1. Not for AdvProp weights of timm, "
        "which are converted to take ImageNet's normalization.",
    )


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions(ModeOptions):
    """Classifier of the Python API."""

    network: EfficientNetOptions

    labels_map_file: str = option(
        "",
        "Names of the classes: JSON from column to name (labels_map.txt as published), a JSON list, or a text file "
        "with one "
        "name per line. Default: ImageNet's 1000 classes.",
        path="path",
    )
    top: int = option(5, "Number of classes per image, best first.")
    crop_size: int = option(0, "Side of the network's input in pixels. 0: as in its training.")

    def __post_init__(self) -> None:
        """Checks the numbers."""
        super().__post_init__()
        check(self.top >= 1, "top", self.top, "at least 1", "try 5")
        check(self.crop_size == 0 or self.crop_size >= 32, "crop_size", self.crop_size, "0, or at least 32", "try 224")


def _check_input(name: str, value: str, mode: str, example: str) -> None:
    if not value:
        raise OptionsError(
            f"{name} must be given for --mode={mode}. Received nothing from the command line, an @file or the "
            f"environment; try --{name}={example}.",
            option=name,
        )


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions(ClassifierOptions):
    """Classification of images."""

    run: RunOptions
    saved_model_dir: str = option(
        "", "Export of a classification, instead of path_ckpt: a folder, or one of its files.", path="path"
    )
    input_image: str = option("", "One image, a glob, or a folder of images.", path="glob")
    json: bool = option(False, "Print the classes as JSON.")

    def __post_init__(self) -> None:
        """Checks that an input image is given."""
        super().__post_init__()
        _check_input("input_image", self.input_image, "classify", "photo.jpg, 'photos/*.jpg' or photos")

    def without_effect(self) -> dict[str, str]:
        """Returns the other names of a network if path_ckpt or saved_model_dir is given."""
        if self.network.path_ckpt:
            return dict.fromkeys((*NAMES_A_RUN, "saved_model_dir"), "path_ckpt names the checkpoint")
        return dict.fromkeys(NAMES_A_RUN if self.saved_model_dir else (), "saved_model_dir names an export")


@dataclass(frozen=True, kw_only=True)
class EncoderOptions(ModeOptions):
    """Encoder of the Python API."""

    network: EfficientNetOptions


@dataclass(frozen=True, kw_only=True)
class FeaturesOptions(EncoderOptions):
    """Features of images."""

    run: RunOptions
    input_image: str = option("", "One image, a glob, or a folder of images.", path="glob")
    output_dir: str = option(
        "", "Folder for the features (IMAGE.npz) and the drawn channels (IMAGE.channels.png).", path="path"
    )
    layer: str = option(
        "",
        "Layer whose output is also written and drawn (IMAGE.layer.npz, IMAGE.layer.png), such as "
        "block_3/project_conv; "
        "list: print the names of all layers.",
    )
    level: int = option(3, "Reduction whose channels are drawn, 1 to 5, with 1 / 2^level of the image's resolution.")
    channels: int = option(16, "Number of channels to draw, chosen by a fixed seed.")

    def __post_init__(self) -> None:
        """Checks that input image and output folder are given, and the numbers."""
        super().__post_init__()
        check(1 <= self.level <= 5, "level", self.level, "from 1 to 5", "try 3")
        check(self.channels >= 1, "channels", self.channels, "at least 1", "try 16")
        if self.layer != "list":
            _check_input("input_image", self.input_image, "features", "photo.jpg, 'photos/*.jpg' or photos")
            _check_input("output_dir", self.output_dir, "features", "features")

    def without_effect(self) -> dict[str, str]:
        """Returns the options that --layer=list does not use, and the names of a run if path_ckpt is given."""
        of_run = dict.fromkeys(NAMES_A_RUN if self.network.path_ckpt else (), "path_ckpt names the checkpoint")
        names = ("input_image", "output_dir", "level", "channels") if self.layer == "list" else ()
        return of_run | dict.fromkeys(names, "--layer=list only prints names")
