"""Options of the network and its initial weights."""

import re
from dataclasses import dataclass

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.schema import Options, check, check_choice, option

TASKS = ("", "detection", "segmentation", "classification")


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """Network."""

    model_name: str = option(
        "",
        "Network to build: efficientdet-d0 … d7, d7x, lite0 … lite4; for segmentation unet-efficientnet-b0 … b7, lite0 "
        "… lite4, and unet++-… for U-Net++; for classification efficientnet-b0 … b7, lite0 … lite4. Default: "
        "backbone_ref, otherwise efficientdet-d0, unet-efficientnet-b0 or efficientnet-b0. Where --recipe=auto "
        "chooses and no weights of efficientdet-d0 are available: the lite network whose ImageNet weights are an "
        "installed package, if there is one.",
        shapes=True,
    )
    model_config: str = option(
        "",
        "Detector built from parts, instead of model_name: a YAML or JSON file of backbone, neck and head, optionally "
        "followed by values (`detector.yaml,head.num_heads=2`). docs/detectors.md lists the parts. The run stores the "
        "config beside its weights, so that eval, infer and export need only the run.",
        path="path",
    )
    task: str = option(
        "",
        "What to predict: detection (boxes), segmentation (the class of each pixel) or classification (the class of "
        "the image). Default: that of model_name.",
        choices=TASKS,
    )
    image_size: str = option(
        "",
        "Input size of the network in pixels: one number, or WIDTHxHEIGHT. Default: the model's own.",
        shapes=True,
    )
    resize: str = option(
        "",
        "How images are resized to the network's input. letterbox: the aspect ratio is kept, and the rest is "
        "padding. stretch: the image fills the input, as in MediaPipe. Default: letterbox for a "
        "new training, otherwise as in the network's training.",
        choices=("", "letterbox", "stretch"),
    )
    num_classes: int | None = option(
        None,
        "Number of classes. Default: the largest class id of the dataset.",
        shapes=True,
    )
    hparams: str = option(
        "",
        "google/automl's hyperparameters: `a=1,b.c=2`, a YAML file, or both (`base.yaml,a=1`). Several "
        "--hparams, in files and on the command line, are merged by key; the last one takes precedence. All "
        "other options take precedence over --hparams.",
        path="path",
    )

    @property
    def task_name(self) -> str:
        """Returns the name of the task: as given, otherwise that of the model."""
        if self.task:
            return self.task
        if self.model_name.startswith(("unet-", "unet++-")):
            return "segmentation"
        return "classification" if self.model_name.startswith("efficientnet-") else "detection"

    def __post_init__(self) -> None:
        """Checks the image size; names are checked when they are resolved."""
        super().__post_init__()
        check_choice("task", self.task, TASKS)
        if self.model_config and (self.model_name or self.task == "segmentation"):
            other = f"model_name={self.model_name!r}" if self.model_name else "task='segmentation'"
            raise OptionsError(
                f"model_config describes a detector of its own. Received model_config={self.model_config!r} and "
                f"{other}; leave one of them out.",
                option="model_config",
            )
        is_size = not self.image_size or re.fullmatch(r"[1-9]\d*(x[1-9]\d*)?", self.image_size) is not None
        check(is_size, "image_size", self.image_size, "a number or WIDTHxHEIGHT", "try 512 or 640x384")
        if self.image_size:
            sides = [int(side) for side in self.image_size.split("x")]
            check(min(sides) >= 32, "image_size", self.image_size, "at least 32 pixels per side", "try 128")
            check(max(sides) <= 8192, "image_size", self.image_size, "at most 8192 pixels per side", "try 512")
        check_choice("resize", self.resize, ("", "letterbox", "stretch"))
        classes = self.num_classes
        check(
            classes is None or classes > 0, "num_classes", classes, "above 0", "leave it out to take it from the data"
        )


@dataclass(frozen=True, kw_only=True)
class PretrainedOptions(Options):
    """Pretrained weights."""

    backbone_ref: str = option("", "Model whose pretrained weights to start from. Default: model_name.", shapes=True)
    pretrained_ckpt: str = option(
        "auto",
        "Initial weights: auto (for backbone_ref, the first available of: google/automl's published COCO "
        "checkpoint, an ImageNet backbone from the cache or an installed package, random weights; the log states the "
        "choice "
        "and the reason), none, or a checkpoint: a path, a run's folder, a URL, or a published name such as "
        "efficientdet-d0 … d7x, efficientdet-lite0 … lite4.",
        shapes=True,
        path="path",
    )
    backbone_ckpt: str = option(
        "",
        "EfficientNet checkpoint for the backbone only: a path, a run's folder, a URL or a published name. "
        "efficientnet-b0 … b5 fit efficientdet-d0 … d5, b6 fits d6 and d7, b7 fits d7x, efficientnet-lite0 … "
        "lite4 fit efficientdet-lite0 … lite4 (lite3 also lite3x). Neck and heads are initialized randomly. "
        "Mutually exclusive with pretrained_ckpt and hub_module_url.",
        shapes=True,
        path="path",
    )
    hub_module_url: str = option(
        "",
        "Feature-vector SavedModel to start from: a folder, a .tar.gz or a URL. Mutually exclusive with "
        "pretrained_ckpt.",
        shapes=True,
        path="path",
    )
    var_exclude_expr: str = option(
        "",
        "Regular expression, matched at the start of google/automl's variable names; matching variables are "
        "not loaded from the checkpoint.",
        shapes=True,
    )

    def __post_init__(self) -> None:
        """Checks that at most one source of weights is given, and the regular expression."""
        super().__post_init__()
        named = [name for name in ("backbone_ckpt", "hub_module_url") if getattr(self, name)]
        if self.pretrained_ckpt not in {"auto", "none"}:
            named.append("pretrained_ckpt")
        if len(named) > 1:
            received = " and ".join(f"{name}={getattr(self, name)!r}" for name in named)
            raise OptionsError(
                f"Only one of {', '.join(named)} can be given as the initial weights. Received {received}.",
                option=named[0],
            )
        try:
            re.compile(self.var_exclude_expr)
        except re.error as error:
            raise OptionsError(
                f"var_exclude_expr must be a regular expression. Received {self.var_exclude_expr!r}: {error}; "
                "try '.*/class-predict/.*'.",
                option="var_exclude_expr",
            ) from None
