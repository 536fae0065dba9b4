"""Random damage to the bytes of a file."""

import random
from collections.abc import Sequence


def mutated_bytes(
    whole: bytes, chance: random.Random, pieces: Sequence[bytes], *, near: Sequence[int], from_start: float
) -> bytes:
    """Returns `whole` with one to five changes: bits flipped, pieces put in, parts deleted, copied or cut off.

    Args:
      pieces: what is put in: bytes that readers of the format have trouble with.
      near: sizes in bytes. Structures are at the beginning and the end of a
        file, so a change is within one of them as often as anywhere.
      from_start: how often a change is counted from the beginning, 0 to 1.
    """
    data = bytearray(whole)
    for _ in range(chance.randint(1, 5)):
        reach = chance.choice([len(data), *(min(len(data), size) for size in near)])
        at = (
            chance.randrange(reach + 1)
            if chance.random() < from_start
            else max(0, len(data) - chance.randrange(reach + 1))
        )
        what = chance.random()
        if what < 0.4 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif what < 0.6:
            piece = chance.choice(pieces)
            data[at : at + len(piece)] = piece
        elif what < 0.7:
            data[at:at] = chance.choice(pieces)
        elif what < 0.8:
            del data[at : at + chance.randint(1, 64)]
        elif what < 0.9:
            start = chance.randrange(len(data) + 1)
            data[at : at + 64] = data[start : start + 64]
        elif what < 0.95:
            del data[at:]
        else:
            data[at : at + 8] = chance.randbytes(8)
    return bytes(data)
