"""A tree of rendered people with matches, as ``train.py`` finds a prepared data set."""

import functools
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

from vtonlab.datasets import VITONHDDataset
from vtonlab.structures import Correspondences
from vtonlab.structures.match_store import DEFAULT_MAPS, MatchStore
from vtonlab.synthetic.writer import Settings, write_dataset
from vtonlab.synthetic.writer_layouts import build_layout

_FOLDERS = tempfile.TemporaryDirectory()  # trees, each rendered once


@functools.cache
def _tree(count: int, size: tuple[int, int], layout: str) -> Path:
    root = Path(_FOLDERS.name) / f"{layout}-{count}-{size[0]}x{size[1]}"
    settings = Settings(layout, count, size)
    write_dataset(build_layout(settings), settings, root)
    return root


def write_tree(root: Path, count: int = 4, size: tuple[int, int] = (128, 96),
               layout: str = "vitonhd") -> Path:  # fmt: skip
    """``count`` pairs altogether, two of them for testing; a copy of the tree that is rendered once
    a process.
    """
    shutil.copytree(_tree(count, tuple(size), layout), root, dirs_exist_ok=True)
    return root


def write_matches(
    matches: Mapping, root: Path, split: str = "train", holdout: int = 0
) -> MatchStore:
    """A finished store for a config's ``matches``; every pair gets the same ten points."""
    maps = matches.get("maps", DEFAULT_MAPS)
    dataset = VITONHDDataset(
        data_root=str(root), split=split, size=None, maps=maps, holdout=holdout
    )
    points = torch.rand(10, 2, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
    store = MatchStore.create(matches, root, split, {"made": "by a test"})
    for index, pair in enumerate(dataset.pairs):
        found = Correspondences(points, points.flip(0), torch.ones(10))
        store.write(*pair, found, dataset.files(index))
    store.finish(dataset.pairs, {})
    return store
