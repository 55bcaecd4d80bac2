"""What share of the training samples each attention loss supervises, said before training."""

import math

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from torch import nn

from vtonlab.registry import HOOKS

DRAWS = 4096  # noise levels; the share is then known to within 1.6 % of all samples


def supervised_shares(model: nn.Module) -> dict[str, float]:
    """Attention loss -> share of the samples whose noise level lies inside its gate, and whose
    garment is not withheld; empty for models without noise levels.
    """
    schedule = getattr(model, "noise_schedule", None)
    if schedule is None:
        return {}
    generator = torch.Generator().manual_seed(0)
    sigmas = schedule.draw(generator, (DRAWS,))
    timesteps = schedule.timesteps(sigmas)
    shown = _share_shown(model, generator)
    return {
        name: shown * float(loss.gate(timesteps, timesteps).float().mean())
        for name, loss in model.attention_losses.items()
    }


def _share_shown(model: nn.Module, generator: torch.Generator) -> float:
    """Share of the training samples that see their garment."""
    conditioner = model.conditioner
    withheld = float(conditioner.withheld(torch.ones(1, dtype=torch.bool)).float())
    shown = 1.0 - model.condition_dropout * withheld
    if not conditioner.dropouts:
        return shown
    dropped = {
        part: torch.rand(DRAWS, generator=generator) < share
        for part, share in conditioner.dropouts.items()
    }
    without = conditioner.withholds_garment(dropped)
    return shown if without is None else shown * (1.0 - float(without.float().mean()))


@HOOKS.register_module()
class SupervisedShareHook(Hook):
    """Says it before training: a gate written for another noise schedule may leave a loss
    next to nothing to act on.

    Args:
        least: share below which a warning says so.
    """

    priority = "LOW"
    only_while_training = True

    def __init__(self, *, least: float = 0.05) -> None:
        self.least = least
        self.shares: dict[str, float] = {}  # of this run, for its start screen

    def before_train(self, runner) -> None:
        """Say each loss's share; warn below ``least``."""
        model = runner.bare_model
        self.shares = supervised_shares(model)
        for name, share in self.shares.items():
            limit = model.attention_losses[name].t_max
            gate = "at all noise levels" if limit in (None, math.inf) else f"below t_max={limit:g}"
            text = f"{name} supervises {share:.1%} of the training samples, those {gate}"
            if share >= self.least:
                print_log(text, logger="current")
                continue
            print_log(
                f"{text}: less than {self.least:.0%}; raise t_max, or draw noise levels that fall "
                "below it (the noise schedule's density and shift)",
                logger="current",
                level=30,
            )
