"""Warps of a frozen model, computed once for each pair."""

from dataclasses import fields
from hashlib import blake2b

import torch
from torch import Tensor

from vtonlab.models.try_on_warping import TryOnWarping, Warp


class KeptWarps:
    """Memory of up to ``most`` pairs' warps, found by what the warping reads: a mirrored or cropped
    sample is another pair.

    Each pair is warped alone, so that its warp does not depend on what else is kept, and a run
    that is resumed with an empty memory has the same.

    Args:
        most: pairs; later ones are warped anew each time.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._warps: dict[bytes, Warp] = {}

    def __len__(self) -> int:
        return len(self._warps)

    def clear(self) -> None:
        """Forget all: the warping has other weights."""
        self._warps.clear()

    def __call__(self, warping: TryOnWarping, batch: dict) -> Warp:
        """The warps of a preprocessed batch."""
        read = {name: batch[name] for name in warping.warp_reads if name in batch}
        warps = []
        for place in range(len(batch["garment"])):
            pair = {name: maps[place : place + 1] for name, maps in read.items()}
            key = _digest(pair)
            warp = self._warps.get(key) or warping.warp(pair)
            if len(self._warps) < self.most:
                self._warps[key] = warp
            warps.append(warp)
        names = [field.name for field in fields(Warp)]
        return Warp(**{name: torch.cat([getattr(w, name) for w in warps]) for name in names})


def _digest(pair: dict[str, Tensor]) -> bytes:
    found = blake2b(digest_size=16)
    for maps in pair.values():
        found.update(maps.detach().cpu().contiguous().view(torch.uint8).numpy())
    return found.digest()
