"""Cutting a triangle mesh where a vertex scalar turns negative: hems, necklines and sleeve ends, at
any height.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cut:
    """A cut mesh: every new vertex lies on an edge (or is a vertex) of the old one.

    faces (F, 3), into the new vertices; first, second (V',) old vertices; share (V', 1) of
    ``second``
    """

    faces: np.ndarray
    first: np.ndarray
    second: np.ndarray
    share: np.ndarray

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Old vertex values (V, C) to new ones (V', C), linear along the cut edges."""
        first = values[self.first]
        return first + (values[self.second] - first) * self.share


def clip(faces: np.ndarray, keep: np.ndarray) -> Cut:
    """Part of a mesh where ``keep`` (V,) is positive, cut linearly along the edges; winding is
    kept.
    """
    inside = keep > 0
    number = inside[faces].sum(1)
    whole = faces[number == 3]
    one, two = faces[number == 1], faces[number == 2]
    one, two = _rotate(one, inside[one]), _rotate(two, ~inside[two])  # the odd corner first
    count = len(keep)
    odd = np.concatenate([one, two])
    pairs = np.stack([odd[:, [0, 1]], odd[:, [0, 2]]], axis=1).reshape(-1, 2)  # edges that are cut
    low, high = pairs.min(1), pairs.max(1)
    keys, where = np.unique(low * count + high, return_inverse=True)
    low, high = keys // count, keys % count
    share = keep[low] / (keep[low] - keep[high])
    cut = where.reshape(-1, 2) + count  # (n, 2): new vertices on the odd corner's two edges
    one_cut, two_cut = cut[: len(one)], cut[len(one) :]
    parts = [
        whole,
        np.stack([one[:, 0], one_cut[:, 0], one_cut[:, 1]], axis=1),
        np.stack([two_cut[:, 0], two[:, 1], two[:, 2]], axis=1),
        np.stack([two_cut[:, 0], two[:, 2], two_cut[:, 1]], axis=1),
    ]
    all_faces = np.concatenate(parts)
    used = np.zeros(count + len(keys), bool)
    used[all_faces.reshape(-1)] = True
    index = np.cumsum(used) - 1
    first = np.concatenate([np.arange(count), low])[used]
    second = np.concatenate([np.arange(count), high])[used]
    shares = np.concatenate([np.zeros(count), share])[used].astype(np.float32)
    return Cut(index[all_faces], first, second, shares[:, None])


def _rotate(faces: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """Turn each face so that its one flagged corner comes first."""
    start = flags.argmax(1)[:, None]
    return np.take_along_axis(faces, (start + np.arange(3)) % 3, axis=1)
