"""Rendered people to begin with: drawn when the studio starts, nothing is downloaded."""

import threading
from dataclasses import dataclass
from functools import cache

import numpy as np

from vtonlab.synthetic import SyntheticTryOn

SIZE = (256, 192)
CHOSEN = (1, 3, 5, 8, 11, 14)  # of 64 people of ``bench``, whom no shipped model has seen


@dataclass(frozen=True)
class Example:
    """A rendered person, another garment, and the maps that the renderer knows."""

    name: str
    person: np.ndarray
    garment: np.ndarray
    mask: np.ndarray
    pose: np.ndarray
    parse: np.ndarray
    keypoints: np.ndarray
    category: str


@cache
def _people() -> SyntheticTryOn:
    return SyntheticTryOn(
        split="bench",
        size=SIZE,
        length=64,
        setting="unpaired",
        categories=["upper_body"],
        textures="bold",
        hardness=(0.0, 0.5),
        maps=["parse", "keypoints"],
    )


_drawing = threading.Lock()


def example(number: int) -> Example:
    """The ``number``-th; drawn once."""
    with _drawing:
        return _example(number)


@cache
def _example(number: int) -> Example:
    sample = _people()[CHOSEN[number]]
    names = ("person", "garment", "mask", "pose", "parse", "keypoints")
    maps = {name: sample[name] for name in names}
    return Example(f"rendered person {number + 1}", category=sample["category"], **maps)


def examples() -> list[Example]:
    """All of them."""
    return [example(number) for number in range(len(CHOSEN))]


def begin() -> threading.Thread:
    """Draw them in the background."""
    thread = threading.Thread(target=examples, name="examples", daemon=True)
    thread.start()
    return thread
