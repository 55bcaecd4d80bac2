"""The non-saturating adversarial loss with a lazy R1 penalty (METHODS.md 5.6)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vtonlab.losses.weights import check_weight
from vtonlab.registry import LOSSES


def r1_penalty(scores: Tensor, pictures: Tensor) -> Tensor:
    """Squared norm of the gradient of each score by its picture, mean over the batch.

    Args:
        scores: (B,), computed from ``pictures`` with gradients.
        pictures: (B, C, H, W) real pictures that require a gradient.

    Returns:
        scalar, in the graph (its backward pass differentiates twice).
    """
    (gradient,) = torch.autograd.grad(scores.float().sum(), pictures, create_graph=True)
    return gradient.float().square().flatten(1).sum(1).mean()


@LOSSES.register_module()
class NonSaturatingLoss(nn.Module):
    """``softplus`` of scores, as StyleGAN2 has it; gradients of real scores are held small.

    The discriminator's: ``softplus(-real) + softplus(fake)``; every ``r1_interval`` steps also
    ``r1_weight / 2 * r1_interval`` times the penalty, in the same optimiser step. The generator's:
    ``softplus(-fake)``.

    Args:
        weight: of the generator's loss.
        r1_weight: of the penalty, were it computed at each step; 0 leaves it out.
        r1_interval: steps from one penalty to the next.

    Raises:
        ValueError: an interval below 1.
    """

    def __init__(
        self, *, weight: float = 1.0, r1_weight: float = 10.0, r1_interval: int = 16
    ) -> None:
        super().__init__()
        check_weight("weight", weight)
        check_weight("r1_weight", r1_weight)
        if r1_interval < 1:
            raise ValueError(f"NonSaturatingLoss: r1_interval must be >= 1, not {r1_interval}")
        self.weight, self.r1_weight, self.r1_interval = weight, r1_weight, r1_interval

    def generator(self, fake: Tensor) -> Tensor:
        """Loss of the scores (B,) of generated pictures, for who made them."""
        return self.weight * F.softplus(-fake.float()).mean()

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of scores (B,) of true and generated pictures, for who scored them."""
        return F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean()

    def penalises(self, step: int) -> bool:
        """Whether the penalty is due after ``step`` steps; the first one has it."""
        return self.r1_weight > 0 and step % self.r1_interval == 0

    def penalty(self, real: Tensor, pictures: Tensor) -> Tensor:
        """The weighted penalty of a step that has one; see :func:`r1_penalty`."""
        return self.r1_weight / 2 * self.r1_interval * r1_penalty(real, pictures)
