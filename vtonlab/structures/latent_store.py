"""Encoded pictures on disk, so that training needs no encoder: computed once, never silently stale.

What a conditioner asks a codec to encode depends on the conditioner (panels are joined before they
are encoded), so a store holds what it got, call by call, for each pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vtonlab.structures.pair_store import NOTES, NOTHING, Files, PairStore, describe_difference
from vtonlab.utils.upload import upload

DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class CachedLatents:
    """A sample's encoded pictures.

    ``calls``: ``"target.0"``, ``"prepare.0"``, ... -> (K, C, h, w) float32, scaled as the backbone
    wants them: K pictures of this sample in that call (nearly always one). ``made_by``: settings of
    codec and conditioner.
    """

    calls: Mapping[str, Tensor]
    made_by: Mapping

    def to(self, device) -> CachedLatents:
        moved = {name: upload(value, device) for name, value in self.calls.items()}
        return CachedLatents(moved, self.made_by)


class LatentStore(PairStore):
    """One directory of latents, for one data set, codec and conditioner."""

    what, entry = "latents", "latent"
    command = "`python tools/cache_latents.py`"

    @classmethod
    def open(cls, directory: str, data: Mapping) -> LatentStore:
        """A finished store, for reading.

        Args:
            data: settings of the data set that decide its pictures.

        Raises:
            FileNotFoundError: there is none; names the command that makes it.
            ValueError: it was made from other data, or is not finished.
        """
        if not (Path(directory) / "manifest.json").is_file():
            raise FileNotFoundError(
                f"no latents in {directory}; make them with {cls.command} CONFIG, where CONFIG is "
                "the config of this run, or take `latents` out of the data set"
            )
        store = cls(directory)
        store.check({"data": data})
        store.check_complete()
        return store

    @property
    def made_by(self) -> dict:
        """Settings of codec and conditioner."""
        return self.manifest["made_by"]

    def write(
        self,
        person_id: str,
        garment_id: str,
        calls: Mapping[str, Tensor],
        files: Files = NOTHING,
        dtype: str = "float32",
    ) -> None:
        """Store one pair's latents with the hashes of the files they were encoded from."""
        arrays = {name: value.cpu().float().numpy().astype(dtype) for name, value in calls.items()}
        self.save(person_id, garment_id, arrays, files)

    def read(self, person_id: str, garment_id: str, files: Files = NOTHING) -> CachedLatents:
        """The latents of one pair.

        Raises:
            FileNotFoundError, ValueError: see `load_fresh`.
        """
        arrays = self.load_fresh(person_id, garment_id, files)
        calls = {
            name: torch.from_numpy(value.astype(np.float32))
            for name, value in arrays.items()
            if name not in NOTES
        }
        return CachedLatents(calls, self.made_by)


def check_made_by(latents: CachedLatents, wanted: Mapping) -> None:
    """``ValueError`` that says what differs if latents come from another codec or conditioner."""
    lines = describe_difference(latents.made_by, wanted)
    if lines:
        raise ValueError(
            f"the cached latents were made differently: {'; '.join(lines)}; delete their folder "
            f"and run {LatentStore.command} again, or take `latents` out of the data set"
        )
