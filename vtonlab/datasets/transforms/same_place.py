"""Correspondences that know nothing of garments: every place in the person picture with the same
place in the garment picture.
"""

import torch

from vtonlab.registry import TRANSFORMS
from vtonlab.structures import Correspondences


@TRANSFORMS.register_module()
class SamePlaceCorrespondences:
    """``correspondences`` from the middle of each cell of a grid over ``mask`` to the same place.

    Stands in for pretrained self-attention, which looks near its own place: a network taught with
    them attends locally. Also a control for what real correspondences add.

    Args:
        grid: (rows, columns) of the cells.
    """

    def __init__(self, *, grid: tuple[int, int]) -> None:
        self.grid = (int(grid[0]), int(grid[1]))
        if min(self.grid) < 1:
            raise ValueError(f"grid must be at least 1x1, not {self.grid[0]}x{self.grid[1]}")

    def __call__(self, sample: dict) -> dict:
        y, x = ((torch.arange(n) + 0.5) / n for n in self.grid)
        places = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 2)  # (N, 2)
        mask = torch.from_numpy(sample["mask"])
        pixels = (places * torch.tensor([mask.shape[1], mask.shape[0]])).long()
        inside = places[mask[pixels[:, 1], pixels[:, 0]] > 0]
        matches = Correspondences(inside, inside.clone(), torch.ones(len(inside)))
        return sample | {"correspondences": matches}
