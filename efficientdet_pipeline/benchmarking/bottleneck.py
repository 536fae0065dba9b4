"""Bottleneck of a training, and the flags that reduce it."""

from dataclasses import dataclass
from typing import Any

from efficientdet_pipeline.options.training import TrainOptions

LOADER, STEP, TOGETHER = "loader", "step", "together"
BALANCED = "balanced"
# Smallest relative difference of two speeds that is reported.
_NEAR = 0.1
_SHARED = 0.8
_DISTURBED = 1.15


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """Images per second at one batch size, and its peak memory."""

    batch_size: int
    loader: float
    step: float
    together: float
    host_bytes: int | None = None
    device_bytes: int | None = None

    @property
    def bottleneck(self) -> str:
        """Returns the slower part, which limits the training; or `balanced`."""
        slower, faster = sorted((self.loader, self.step))
        if slower > (1.0 - _NEAR) * faster:
            return BALANCED
        return LOADER if self.loader < self.step else STEP

    @property
    def reached(self) -> float:
        """Returns the speed of the training relative to its slower part."""
        return self.together / min(self.loader, self.step)


def best_of(sweep: list[Speeds]) -> Speeds:
    """Returns the batch size with the highest training speed."""
    return max(sweep, key=lambda speeds: speeds.together)


def advice(sweep: list[Speeds], options: TrainOptions, machine: dict[str, Any]) -> list[str]:
    """Returns the bottleneck at the fastest batch size of the sweep, and the flags that reduce it.

    Args:
      sweep: at least one batch size.
      options: of the training.
      machine: see `machine.description`.
    """
    best = best_of(sweep)
    flags = {LOADER: _loader_flags(options, machine["cores"]), STEP: _step_flags(sweep, options, machine)}
    said = [f"Fastest is batch_size={best.batch_size}, {number(best.together)} images per second."]
    if best.bottleneck == BALANCED:
        said.append(
            f"Loader and step are balanced ({number(best.loader)} and {number(best.step)} images per second alone): "
            "speeding up only one of them gains little."
        )
    else:
        alone, other = sorted((best.loader, best.step))
        said.append(
            f"The bottleneck is the {best.bottleneck}: {number(alone)} images per second alone, while the other one "
            f"reaches {number(other)}. Try {', '.join(flags[best.bottleneck])}."
        )
    if best.reached < _SHARED:
        why = (
            "both use the same CPU cores"
            if machine["is_cpu"]
            else "the rest is copying to the device and shared CPU cores"
        )
        said.append(f"The training reaches {best.reached:.0%} of the slower part alone: {why}.")
    if best.reached > _DISTURBED:
        said.append(
            f"The training reached {best.reached:.0%} of the slower part alone, which is impossible: the machine had "
            "other work. Try again when it is idle, or with more --rounds."
        )
    return said


def _loader_flags(options: TrainOptions, cores: int) -> list[str]:
    """Returns flags that speed up the loader, most effective first, without those already set."""
    augmentation = options.augmentation
    is_mixed = augmentation.mosaic or augmentation.mixup or augmentation.copy_paste
    shrinks = bool(options.data.images.url_dataset) and not options.data.conversion.prepare_size
    flags = {
        "--cache=memory (or disk)": options.loader.cache == "none",
        "--prepare_size=1024 to downscale large images once": shrinks,
        "a lighter --augment_recipe": augmentation.augment and bool(is_mixed or augmentation.autoaugment_policy),
        "--noaugment to measure the cost of augmentation": augmentation.augment,
        f"more CPU cores (it has {cores})": True,
    }
    return [flag for flag, helps in flags.items() if helps]


def _step_flags(sweep: list[Speeds], options: TrainOptions, machine: dict[str, Any]) -> list[str]:
    """Returns flags that speed up the step, most effective first, without those already set."""
    grows = len(sweep) > 1 and best_of(sweep) is sweep[-1]
    larger = f"a larger --batch_size than {sweep[-1].batch_size}"
    larger += ", with --grad_checkpoint if memory is short" if not options.hardware.recomputed_blocks else ""
    flags = {
        "a GPU": machine["is_cpu"],
        "--precision=mixed_bfloat16": not machine["is_cpu"] and machine["precision"] == "float32",
        "no --grad_checkpoint, if memory allows": bool(options.hardware.recomputed_blocks),
        larger: grows and not machine["is_cpu"],
        "a smaller --image_size": True,
        "a smaller --model_name": True,
    }
    return [flag for flag, helps in flags.items() if helps]


def number(value: float) -> str:
    """Returns images per second as printed."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
