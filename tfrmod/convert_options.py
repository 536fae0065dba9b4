"""Options of a conversion."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tfrmod.image_file import MAX_PIXELS
from tfrmod.sources import SOURCES


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Selection of images and classes, splits, and format of the shards."""

    label_map: Mapping[int, str] | None = None
    """{id: class name}, ids from 1; None uses the dataset's own, or numbers its classes alphabetically."""
    label_aliases: Mapping[str, str] | None = None
    """{name in an annotation: class name}; applied before anything is counted."""
    train_set: str | None = None
    """Name of the training list in ImageSets/Main; None uses trainval with test, or train with val, if they exist."""
    val_set: str | None = None
    """Name of the validation list in ImageSets/Main."""
    image_sets: bool = True
    """Whether to use the splits shipped with the dataset; otherwise it is split by the fractions below."""
    train_valid_split: float = 0.8
    """Fraction of the images for training; 1.0 means no validation."""
    test_split: float = 0.0
    """Fraction of the images for testing, taken from the remaining ones."""
    group_near_duplicates: bool = True
    """Whether similar images with the same objects are kept in the same split; otherwise only identical files."""
    seed: int = 0
    """Seed of the split and of the order of records."""
    num_shards: int = -1
    """Number of files for each of train, val and test; -1 chooses it by the number of images."""
    strict: bool = False
    """Whether to stop at the first fault; otherwise faults are counted and listed and their images left out."""
    num_workers: int | None = None
    """Number of processes; None uses all cores. It does not affect the result."""
    max_pixels: int = MAX_PIXELS
    """Images with more pixels are left out without decoding."""
    max_images: int | None = None
    """Use only the first images of the list."""
    prepare_size: int = 0
    """Images with a longer side are downscaled to this size in pixels, with their boxes and masks; 0: no scaling."""
    verify: bool = True
    """Whether to decode every image; otherwise images that need no change are copied after reading their header."""
    include_masks: bool = False
    """Whether to write the masks shipped with the dataset."""
    semantic: bool = False
    """Whether to write the class of each pixel (see `sources.semantic`), and no boxes."""
    image_classes: bool = False
    """Whether to write one class of each image (see `sources.image_classes`)."""
    skip_difficult: bool = False
    """Whether to leave out objects that the annotation marks as difficult."""
    image_size: int | str | None = None
    """Image size of the network in hparams_config.yaml (int or WIDTHxHEIGHT); None: no entry."""
    source_format: str | None = None
    """A name in `sources.SOURCES`; None detects it."""
    dataset: str = ""
    """Name of the dataset in the manifest, a URL for example."""

    def __post_init__(self) -> None:
        """Checks the values."""
        if not 0 < self.train_valid_split <= 1:
            received = self.train_valid_split
            raise ValueError(f"train_valid_split is a fraction of images, above 0 and up to 1. Received {received}.")
        if not 0 <= self.test_split <= 1 - self.train_valid_split + 1e-9:
            raise ValueError(
                f"test_split is taken from what training leaves over, here {1 - self.train_valid_split:.3g} of the "
                f"images (train_valid_split={self.train_valid_split}). Received {self.test_split}."
            )
        if self.num_shards == 0 or self.num_shards < -1:
            raise ValueError(f"num_shards is a number of files, or -1 to have it found. Received {self.num_shards}.")
        if self.num_workers is not None and self.num_workers < 1:
            raise ValueError(f"num_workers is a number of processes, at least 1. Received {self.num_workers}.")
        if self.max_images is not None and self.max_images < 1:
            raise ValueError(f"max_images is a number of images, at least 1. Received {self.max_images}.")
        if self.prepare_size < 0:
            raise ValueError(f"prepare_size is a number of pixels, or 0 for none. Received {self.prepare_size}.")
        if self.source_format is not None and self.source_format not in SOURCES:
            raise ValueError(f"Unknown source_format {self.source_format!r}. Known: {', '.join(SOURCES)}.")
        if self.label_map is not None:
            _check_label_map(self.label_map)
        _check_aliases(self.label_aliases or {}, self.label_map)
        if self.semantic and self.label_aliases:
            raise ValueError(
                "label_aliases joins classes of boxes, and not the values of maps, with --task=segmentation. Received "
                f"{len(self.label_aliases)} names; give the classes one value in the masks, or one category in COCO."
            )

    def shaping(self) -> dict[str, Any]:
        """Returns the options that affect the shards, in the types of JSON."""
        options = asdict(self)
        del options["num_workers"]
        # Shards of earlier versions do not have these options.
        for name in ("semantic", "image_classes"):
            if not options[name]:
                del options[name]
        if self.label_map is not None:
            options["label_map"] = {str(class_id): name for class_id, name in sorted(self.label_map.items())}
        return options


def _check_label_map(label_map: Mapping[int, str]) -> None:
    for class_id, name in label_map.items():
        if not isinstance(class_id, int) or class_id < 1 or not isinstance(name, str) or not name.strip():
            raise ValueError(f"label_map gives each class a name and an id from 1. Received {class_id!r}: {name!r}.")
    twice = [name for name, count in Counter(label_map.values()).items() if count > 1]
    if twice:
        raise ValueError(f"label_map gives {twice[0]!r} more than one id.")


def _check_aliases(aliases: Mapping[str, str], label_map: Mapping[int, str] | None) -> None:
    for name, meant in aliases.items():
        if not name.strip() or not meant.strip():
            raise ValueError(f"label_aliases gives a name another one. Received {name!r}: {meant!r}.")
        if meant in aliases:
            raise ValueError(
                f"label_aliases turns {name!r} into {meant!r}, and that into {aliases[meant]!r}. "
                "Name the class that is meant in the end for each."
            )
        if label_map is not None and meant not in label_map.values():
            known = ", ".join(label_map.values())
            raise ValueError(
                f"label_aliases turns {name!r} into {meant!r}, which is not a class of the label map: {known}."
            )
