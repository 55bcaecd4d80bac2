"""Random numbers of a training step as a function of where it is, not of what came before."""

import hashlib
import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook

from vtonlab.registry import HOOKS


def step_seed(seed: int, rank: int, iteration: int) -> int:
    """A 56-bit seed from (seed, rank, iteration), by BLAKE2b: neighbours are unrelated."""
    key = f"{seed}-{rank}-{iteration}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "little")


@HOOKS.register_module()
class CounterRNGHook(Hook):
    """Seeds torch, numpy and random before every training iteration (reliability.md 3.1).

    Dropout and every other draw from the global generators then need no state in a checkpoint:
    a resumed run draws the same numbers, for any number of loader workers.
    """

    priority = "VERY_HIGH"
    only_while_training = True  # tests run without it

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        seed = step_seed(runner.seed, get_rank(), runner.iter)
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
