"""Options that turn annotated photos into shards."""

from dataclasses import dataclass

from efficientdet_pipeline.options.declare import option
from efficientdet_pipeline.options.run import RunOptions, SeedOptions, check


@dataclass(frozen=True, kw_only=True)
class DatasetOptions(RunOptions, SeedOptions):
    """Photos in, shards out."""

    overwrite: bool = option(False)
    """Begin the run anew: its folder is emptied first. Nothing else is ever deleted."""
    url_dataset: str = option("")
    """The annotated photos: http(s) address of a zip, a local zip, a folder, or `demo` for the embedded data set."""
    dataset_sha256: str = option("")
    """Expected sha256 of the zip; a download that differs is refused."""
    cache_dir: str = option("")
    """Where downloads are kept; default `~/.cache/efficientdet-pipeline`."""
    data_dir: str = option("")
    """Folder of the photos and XML files. With url_dataset: where the zip is unpacked (default: in the cache)."""
    output_path: str = option("")
    """Where the shards go; default: tfrecords in the run's folder."""
    path_metadata: str = option("")
    """Folder of metadata.json; default: the run's folder."""
    label_map: str = option("", shapes=True)
    """YAML file {id: name}, text file of one name a line, or names separated by commas; default: all found, sorted."""
    train_set: str = option("", shapes=True)
    """ImageSets list to train on; default trainval where there is a test list, else train."""
    val_set: str = option("", shapes=True)
    """ImageSets list to validate on; default test, else val."""
    train_valid_split: float = option(0.8, shapes=True)
    """Share of the photos to train on where the data has no ImageSets; the rest validates."""
    test_split: float = option(0.0, shapes=True)
    """Share of the photos set aside as test photos; it is taken from what training leaves over."""
    num_shards: int = option(-1)
    """Shards a split; -1 decides by the number of photos."""
    num_workers: int = option(0)
    """Processes that read photos; 0 takes one a core."""
    strict: bool = option(False)
    """Make any problem in the data fatal, instead of leaving the photo or box out and listing it."""

    def __post_init__(self) -> None:
        """Checks the shares and counts."""
        super().__post_init__()
        split, rest = self.train_valid_split, self.test_split
        check(0.0 < split <= 1.0, "train_valid_split", split, "above 0 and at most 1", "0.8 trains on 80 %")
        most = round(1.0 - split, 6)
        check(0.0 <= rest <= most, "test_split", rest, f"between 0 and what training leaves ({most:g})", "try 0.1")
        check(self.num_shards == -1 or self.num_shards > 0, "num_shards", self.num_shards, "-1 or above 0", "try -1")
        check(self.num_workers >= 0, "num_workers", self.num_workers, "0 or more", "0 takes one a core")
        digits = self.dataset_sha256.lower()
        is_hash = not digits or (len(digits) == 64 and set(digits) <= set("0123456789abcdef"))
        check(
            is_hash, "dataset_sha256", self.dataset_sha256, "64 hexadecimal digits", "`sha256sum photos.zip` prints it"
        )
