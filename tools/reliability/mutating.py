"""What mutations of all containers share."""

from collections.abc import Sequence
from typing import Any

from numpy.random import Generator

NUMBERS = (
    *(0, 1, 2, 3, 7, 8, 16, 24, 99, 127, 128, 255, 256, 4095, 32767, 32768, 65535, 65536),
    *(2**24 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**33, 2**63 - 1),
)


def chosen(rng: Generator, options: Sequence) -> Any:
    return options[int(rng.integers(len(options)))]


def overwritten(out: bytearray, at: int, size: int, rng: Generator, order: str = "little") -> None:
    """Puts a number that parsers mistrust, cut to ``size`` bytes, at a place."""
    number = chosen(rng, NUMBERS) % 256**size
    if at + size <= len(out):
        out[at : at + size] = number.to_bytes(size, order)


def scrambled(data: bytes, rng: Generator) -> bytes:
    """Bytes changed, flipped, cut, repeated, taken out."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(len(out)))
        kind = rng.integers(6)
        if kind == 0:
            out[place] = rng.integers(256)
        elif kind == 1:
            overwritten(out, place, 4, rng)
        elif kind == 2:
            out[place] ^= 1 << int(rng.integers(8))
        elif kind == 3:
            out = out[:place] or out
        elif kind == 4:
            out[place:place] = out[place : place + 64]
        else:
            out[place : place + int(rng.integers(1, 40))] = b""
        if not out:
            return b""
    return bytes(out)
