"""What a training waits for, and the flag that moves it."""

from dataclasses import dataclass
from typing import Any

from efficientdet_pipeline.options.training import TrainOptions

LOADER, STEP, TOGETHER = "loader", "step", "together"
BALANCED = "balanced"
# By how much two speeds must differ to be worth a word.
_NEAR = 0.1
_SHARED = 0.8
_DISTURBED = 1.15


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """Images per second of one batch size, and its peak memory."""

    batch_size: int
    loader: float
    step: float
    together: float
    host_bytes: int | None = None
    device_bytes: int | None = None

    @property
    def bottleneck(self) -> str:
        """Returns the part that is the slower alone, and so the nearer to both together; or `balanced`."""
        slower, faster = sorted((self.loader, self.step))
        if slower > (1.0 - _NEAR) * faster:
            return BALANCED
        return LOADER if self.loader < self.step else STEP

    @property
    def reached(self) -> float:
        """Returns what both together reach of the slower one alone."""
        return self.together / min(self.loader, self.step)


def best_of(sweep: list[Speeds]) -> Speeds:
    """Returns the batch size that a training is quickest with."""
    return max(sweep, key=lambda speeds: speeds.together)


def advice(sweep: list[Speeds], options: TrainOptions, machine: dict[str, Any]) -> list[str]:
    """Returns what the quickest batch size of the sweep waits for, and what moves it.

    Args:
      sweep: at least one batch size.
      options: of the training.
      machine: see `machine.description`.
    """
    best = best_of(sweep)
    flags = {LOADER: _loader_flags(options, machine["cores"]), STEP: _step_flags(sweep, options, machine)}
    said = [f"Quickest is batch_size={best.batch_size}, {number(best.together)} images per second."]
    if best.bottleneck == BALANCED:
        said.append(
            f"Loader and step are balanced ({number(best.loader)} and {number(best.step)} images per second alone): "
            "a flag for one of them alone moves little."
        )
    else:
        alone, other = sorted((best.loader, best.step))
        said.append(
            f"The bottleneck is the {best.bottleneck}: {number(alone)} images per second alone, where the other one "
            f"could do {number(other)}. Try {', '.join(flags[best.bottleneck])}."
        )
    if best.reached < _SHARED:
        why = (
            "both compute on the same processor cores"
            if machine["is_cpu"]
            else "the copying to the device, and the cores that loader and step share, lie between them"
        )
        said.append(f"Both together reach {best.reached:.0%} of the slower one alone: {why}.")
    if best.reached > _DISTURBED:
        said.append(
            f"Both together came out at {best.reached:.0%} of the slower one alone, which cannot be: the machine had "
            "other work. Try again when it is quiet, or with more --rounds."
        )
    return said


def _loader_flags(options: TrainOptions, cores: int) -> list[str]:
    """Returns what makes the loader quicker, the strongest first, and nothing that is done already."""
    augmentation = options.augmentation
    is_mixed = augmentation.mosaic or augmentation.mixup or augmentation.copy_paste
    shrinks = bool(options.data.images.url_dataset) and not options.data.conversion.prepare_size
    flags = {
        "--cache=memory (or disk)": options.loader.cache == "none",
        "--prepare_size=1024 to shrink large images once": shrinks,
        "a lighter --augment_recipe": augmentation.augment and bool(is_mixed or augmentation.autoaugment_policy),
        "--noaugment to see what varying costs": augmentation.augment,
        f"more processor cores (it has {cores})": True,
    }
    return [flag for flag, helps in flags.items() if helps]


def _step_flags(sweep: list[Speeds], options: TrainOptions, machine: dict[str, Any]) -> list[str]:
    """Returns what makes the step quicker, the strongest first, and nothing that is done already."""
    grows = len(sweep) > 1 and best_of(sweep) is sweep[-1]
    larger = f"a larger --batch_size than {sweep[-1].batch_size}"
    larger += ", with --grad_checkpoint where memory ends" if not options.hardware.recomputed_blocks else ""
    flags = {
        "a GPU": machine["is_cpu"],
        "--precision=mixed_bfloat16": not machine["is_cpu"] and machine["precision"] == "float32",
        "no --grad_checkpoint, where memory allows": bool(options.hardware.recomputed_blocks),
        larger: grows and not machine["is_cpu"],
        "a smaller --image_size": True,
        "a smaller --model_name": True,
    }
    return [flag for flag, helps in flags.items() if helps]


def number(value: float) -> str:
    """Returns images per second as they are printed."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
