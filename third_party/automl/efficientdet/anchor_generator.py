"""Anchor generator by strides, scales and aspect ratios: the rules of mmdet with y first, in numpy."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class AnchorGenerator:
    """Generates the anchors of a head; field names are mmdet's.

    The base anchors of a level are s * scale * sqrt(ratio) pixels high and
    s * scale / sqrt(ratio) pixels wide, with s the base size.
    """

    strides: tuple[int | tuple[int, int], ...]
    """Pixels between anchors, per level; pairs are (width, height)."""
    ratios: tuple[float, ...]
    """Height divided by width."""
    scales: tuple[float, ...] | None = None
    octave_base_scale: float | None = None
    scales_per_octave: int | None = None
    """Instead of `scales`: octave_base_scale * 2^(i / scales_per_octave)."""
    base_sizes: tuple[float, ...] | None = None
    """Per level; None: the smaller stride."""
    scale_major: bool = True
    """Order of the anchors of a location: all scales of the first ratio first; else all ratios of the first scale."""
    centers: tuple[tuple[float, float], ...] | None = None
    """(x, y) of the base anchors of each level."""
    center_offset: float = 0.0
    """Center of the base anchors in multiples of the base size, 0 to 1."""

    def __post_init__(self) -> None:
        has_octaves = self.octave_base_scale is not None and self.scales_per_octave is not None
        if has_octaves in (self.scales is not None, self.octave_base_scale is None):
            raise ValueError(
                "scales, or octave_base_scale and scales_per_octave, must be given, and not both. Received "
                f"scales={self.scales}, octave_base_scale={self.octave_base_scale}, "
                f"scales_per_octave={self.scales_per_octave}."
            )
        if not self.strides or not self.ratios or min(self.ratios) <= 0 or min(map(min, self._strides)) <= 0:
            raise ValueError(f"strides and ratios must be above 0. Received {self.strides} and {self.ratios}.")
        if not 0 <= self.center_offset <= 1 or (self.centers and self.center_offset):
            raise ValueError(
                "center_offset must be 0 to 1, and 0 if centers are given. "
                f"Received center_offset={self.center_offset}, centers={self.centers}."
            )
        for key in ("base_sizes", "centers"):
            if getattr(self, key) is not None and len(getattr(self, key)) != len(self.strides):
                raise ValueError(f"{key} must have one entry for each of {len(self.strides)} strides.")

    @property
    def _strides(self) -> list[tuple[int, int]]:
        """Returns (width, height) of each stride."""
        return [stride if isinstance(stride, tuple) else (stride, stride) for stride in self.strides]

    @property
    def num_levels(self) -> int:
        """Number of levels of the pyramid."""
        return len(self.strides)

    @property
    def num_base_anchors(self) -> tuple[int, ...]:
        """Number of anchors per location, for each level."""
        return tuple(len(self.base_anchors(level)) for level in range(self.num_levels))

    def base_anchors(self, level: int) -> Float[np.ndarray, "s 4"]:
        """Returns the anchors of the first location of a level, y0 x0 y1 x1 in pixels."""
        base = self.base_sizes[level] if self.base_sizes else min(self._strides[level])
        scales = self.scales or tuple(
            float(self.octave_base_scale or 0) * 2 ** (index / (self.scales_per_octave or 1))
            for index in range(self.scales_per_octave or 1)
        )
        pairs = list(itertools.product(self.ratios, scales))
        if not self.scale_major:
            pairs = [(ratio, scale) for scale, ratio in itertools.product(scales, self.ratios)]
        ratio, scale = np.array(pairs).T
        half_height, half_width = base * scale * np.sqrt(ratio) / 2, base * scale / np.sqrt(ratio) / 2
        x, y = self.centers[level] if self.centers else (self.center_offset * base, self.center_offset * base)
        return np.stack([y - half_height, x - half_width, y + half_height, x + half_width], axis=-1).astype(np.float32)

    def grid_priors(self, sizes: Sequence[Size]) -> list[Float[np.ndarray, "a 4"]]:
        """Returns the anchors of each level in row-major order, all anchors of a location together.

        Args:
          sizes: (height, width) of each level's feature map.
        """
        self._check(sizes)
        return [
            self._at(level, *np.divmod(np.arange(height * width), width)).reshape(-1, 4)
            for level, (height, width) in enumerate(sizes)
        ]

    def sparse_priors(self, ids: Int[np.ndarray, " n"], size: Size, level: int) -> Float[np.ndarray, "n 4"]:
        """Returns the anchors of a level at the given indices into `grid_priors`."""
        place, anchor = np.divmod(np.asarray(ids), self.num_base_anchors[level])
        anchors = self._at(level, *np.divmod(place, size[1]))
        return anchors[np.arange(len(anchor)), anchor]

    def valid_flags(self, sizes: Sequence[Size], image_size: Size) -> list[Bool[np.ndarray, " a"]]:
        """Returns, for each anchor of `grid_priors`, whether its location lies inside an image of (height, width)."""
        self._check(sizes)
        flags = []
        for level, (height, width) in enumerate(sizes):
            stride_x, stride_y = self._strides[level]
            rows = np.arange(height) < -(-image_size[0] // stride_y)
            columns = np.arange(width) < -(-image_size[1] // stride_x)
            flags.append(np.repeat((rows[:, None] & columns[None]).ravel(), self.num_base_anchors[level]))
        return flags

    def _at(self, level: int, row: np.ndarray, column: np.ndarray) -> Float[np.ndarray, "n s 4"]:
        stride_x, stride_y = self._strides[level]
        shift = np.stack([row * stride_y, column * stride_x] * 2, axis=-1)
        return (shift[:, None] + self.base_anchors(level)[None]).astype(np.float32)

    def _check(self, sizes: Sequence[Size]) -> None:
        if len(sizes) != self.num_levels:
            raise ValueError(
                f"There must be one feature map for each of {self.num_levels} strides {self.strides}. Received "
                f"{len(sizes)} maps of {list(sizes)}; compare the neck's levels."
            )
