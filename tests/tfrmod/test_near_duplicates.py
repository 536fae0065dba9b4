import io
import random

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tfrmod.near_duplicates import HASH_BITS, NEAR, difference_hash, near_groups, twin_groups


def picture(seed: int = 0, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Returns soft blots; size is (width, height)."""
    small = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def saved_anew(image: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(out)


def roughly(image: Image.Image) -> Image.Image:
    image.draft("L", (image.width // 8, image.height // 8))
    return image


def distance(one: Image.Image, other: Image.Image) -> int:
    return (difference_hash(one) ^ difference_hash(other)).bit_count()


def with_bits_flipped(value: int, count: int, rng: random.Random) -> int:
    for bit in rng.sample(range(HASH_BITS), count):
        value ^= 1 << bit
    return value


@pytest.mark.parametrize(
    "copy",
    [
        lambda image: saved_anew(image, 40),
        lambda image: roughly(saved_anew(image, 90)),
        lambda image: image.resize((160, 120)),
        lambda image: image.resize((1111, 833)),
        lambda image: ImageEnhance.Brightness(image).enhance(0.8),
        lambda image: image.convert("L"),
        lambda image: image.convert("RGBA"),
        lambda image: image.convert("P"),
    ],
)
def test_near_duplicates_copy_stays_near(copy) -> None:
    for seed in range(10):
        assert distance(picture(seed), copy(picture(seed))) <= NEAR


def test_near_duplicates_other_motifs_are_far() -> None:
    hashes = [difference_hash(picture(seed)) for seed in range(60)]
    assert min((one ^ other).bit_count() for one in hashes for other in hashes if one != other) > 2 * NEAR
    assert near_groups(hashes) == []


def test_near_duplicates_bit_says_where_it_gets_darker() -> None:
    brighter = np.tile(np.arange(0, 90, 10, dtype=np.uint8), (8, 1))
    assert difference_hash(Image.fromarray(brighter)) == 0
    assert difference_hash(Image.fromarray(brighter[:, ::-1].copy())) == (1 << HASH_BITS) - 1
    assert difference_hash(Image.new("RGB", (1, 1))) == 0


def test_near_duplicates_groups_are_those_of_every_near_pair() -> None:
    rng = random.Random(3)
    motifs = [rng.getrandbits(64) for _ in range(40)]
    hashes = [with_bits_flipped(motif, rng.randrange(3), rng) for motif in motifs for _ in range(3)]
    order = list(range(len(hashes)))
    rng.shuffle(order)
    groups = near_groups([hashes[index] for index in order])
    assert sorted(sorted(order[place] for place in group) for group in groups) == [
        [3 * motif, 3 * motif + 1, 3 * motif + 2] for motif in range(40)
    ]


def test_near_duplicates_distance_is_the_callers() -> None:
    value = 0x0F1E2D3C4B5A6978
    hashes = [value, value ^ 0b111, ~value & (1 << 64) - 1, value]
    assert near_groups(hashes, max_distance=0) == [[0, 3]]
    assert near_groups(hashes, max_distance=2) == [[0, 3]]
    assert near_groups(hashes, max_distance=3) == [[0, 1, 3]]
    assert near_groups([], max_distance=3) == []
    with pytest.raises(ValueError, match="from 0 to 63"):
        near_groups(hashes, max_distance=64)


def test_near_duplicates_images_without_structure_are_in_no_group() -> None:
    assert near_groups([0] * 50 + [(1 << 64) - 1] * 50 + [0b101] * 50) == []


def test_near_duplicates_long_row_of_slow_changes_does_not_become_one_group() -> None:
    rng = random.Random(5)
    row = [0xF0F0F0F0F0F0F0F0]
    for _ in range(600):
        row.append(with_bits_flipped(row[-1], 1, rng))
    groups = near_groups(row)
    assert len(groups) > 20
    assert max(map(len, groups)) < 60


def test_near_duplicates_hundred_thousand_are_grouped() -> None:
    rng = random.Random(7)
    hashes = [rng.getrandbits(64) for _ in range(50_000)]
    groups = near_groups(hashes + [with_bits_flipped(value, 2, rng) for value in hashes])
    assert len(groups) == 50_000
    assert all(len(group) == 2 for group in groups)


def test_near_duplicates_twins_are_equal_or_alike_or_linked_by_both() -> None:
    rng = random.Random(9)
    hashes = [rng.getrandbits(64) for _ in range(6)]
    hashes[3] = hashes[0] ^ 0b11
    identities = [1, 2, 3, 4, 4, 1 << 63]
    assert [group.tolist() for group in twin_groups(identities, hashes)] == [[0, 3, 4]]
    assert [group.tolist() for group in twin_groups([5, 6, 5], [0, 0, 0])] == [[0, 2]]
    assert twin_groups([], []) == []
