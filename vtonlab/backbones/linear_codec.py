"""A fixed linear codec with ``AutoencoderKL``'s interface: overlapping blocks, few coefficients."""

from collections.abc import Mapping
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vtonlab.backbones.codec import ExactPosterior
from vtonlab.registry import BACKBONES


@BACKBONES.register_module()
class LinearCodec(nn.Module):
    """Blocks of K x K pixels, ``factor`` apart, to C coefficients and back, both by one matrix.

    ``K == factor`` is a block transform (a KLT, if its rows are principal components); ``K >
    factor`` a lapped one, whose blocks overlap and show no borders. Latents are ``(B, C, H /
    factor, W / factor)``; ``config`` carries the fields that callers read from
    ``AutoencoderKL.config``.

    Args:
        weights: name of shipped weights (`vtonlab.zoo`), with ``analysis`` and ``synthesis`` (C, 3,
            K, K) and ``mean`` (3,), the mean colour; or those tensors themselves.
        factor: pixels per latent, along either side.

    Raises:
        ValueError: the tensors do not belong together.
    """

    def __init__(self, *, weights: str | Mapping[str, Tensor], factor: int = 4) -> None:
        super().__init__()
        if isinstance(weights, str):
            from vtonlab.zoo import load_weights

            weights = load_weights(weights)
        analysis, synthesis = weights["analysis"], weights["synthesis"]
        size = analysis.shape[-1]
        if analysis.shape != synthesis.shape or analysis.shape[1:] != (3, size, size):
            raise ValueError(
                f"analysis {tuple(analysis.shape)} and synthesis {tuple(synthesis.shape)} must "
                "both be (C, 3, K, K)"
            )
        if size < factor or (size - factor) % 2:
            raise ValueError(f"blocks of {size} pixels cannot lie {factor} apart, centred")
        self.factor, self.margin = factor, (size - factor) // 2
        self.register_buffer("analysis", analysis, persistent=False)
        self.register_buffer("synthesis", synthesis, persistent=False)
        self.register_buffer("mean", weights["mean"].reshape(1, 3, 1, 1), persistent=False)
        self.config = SimpleNamespace(
            scaling_factor=1.0,
            shift_factor=0.0,
            latent_channels=len(analysis),
            block_out_channels=(1,) * factor.bit_length(),  # 2 ** (len - 1) == factor
        )

    def encode(self, pictures: Tensor) -> SimpleNamespace:
        """``pictures`` (B, 3, H, W) in [-1, 1]; the result has ``latent_dist`` with ``mode()`` and
        ``sample()``.
        """
        padded = F.pad(pictures.to(self.analysis) - self.mean, [self.margin] * 4, mode="replicate")
        latents = F.conv2d(padded, self.analysis, stride=self.factor)
        return SimpleNamespace(latent_dist=ExactPosterior(latents))

    def decode(self, latents: Tensor) -> SimpleNamespace:
        """The picture of least error; the result has ``sample`` (B, 3, H, W)."""
        around = -(-self.margin // self.factor)  # latents beyond the rim reach into the picture
        height, width = (side * self.factor for side in latents.shape[-2:])
        padded = F.pad(latents.to(self.synthesis), [around] * 4, mode="replicate")
        pictures = F.conv_transpose2d(padded, self.synthesis, stride=self.factor)
        start = self.margin + around * self.factor
        pictures = pictures[..., start : start + height, start : start + width]
        return SimpleNamespace(sample=pictures + self.mean)


def fit_linear_codec(
    pictures: Tensor, channels: int, size: int, factor: int = 4, steps: int = 3000, seed: int = 0
) -> dict[str, Tensor]:
    """Least-squares analysis and synthesis of pictures (N, 3, H, W) in [-1, 1].

    Starts from the KLT of ``factor`` x ``factor`` blocks, which is the answer where ``size ==
    factor``; larger blocks are improved by Adam. The coefficients are then decorrelated, the
    strongest first, and scaled by the root of their deviation: none is lost in noise, none is
    blown up, and their mean square is 1.
    """
    mean = pictures.mean((0, 2, 3))
    centred = pictures - mean[:, None, None]
    blocks = F.unfold(centred, factor, stride=factor).transpose(1, 2).flatten(0, 1)  # (M, 3 f f)
    basis = _principal(blocks)[0][:, :channels].T.reshape(channels, 3, factor, factor)
    weights = {"mean": mean, "analysis": basis.clone(), "synthesis": basis.clone()}
    margin = (size - factor) // 2
    if margin:
        for name in ("analysis", "synthesis"):
            weights[name] = F.pad(weights[name], [margin] * 4)
        weights = _improve(weights, pictures, factor, steps, seed)
    latents = LinearCodec(weights=weights, factor=factor).encode(pictures).latent_dist.mode()
    turn, spread = _principal(latents.transpose(0, 1).flatten(1).T)
    scale = spread.clamp(min=1e-6).rsqrt()
    scale = scale / (scale * spread).square().mean().sqrt()
    to_latents, to_pictures = (turn * scale).T, (turn / scale).T
    analysis = torch.einsum("dc,cxyz->dxyz", to_latents, weights["analysis"])
    synthesis = torch.einsum("dc,cxyz->dxyz", to_pictures, weights["synthesis"])
    return {"mean": mean, "analysis": analysis, "synthesis": synthesis}


def _principal(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Principal directions (columns) of rows (M, D), the strongest first, and deviations (D,)."""
    rows = rows.double()
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    return vectors.flip(1).float(), values.flip(0).clamp(min=0).sqrt().float()


def _improve(
    weights: dict[str, Tensor], pictures: Tensor, factor: int, steps: int, seed: int
) -> dict[str, Tensor]:
    """Both matrices after ``steps`` of Adam on the squared error, batches of 16 pictures."""
    learned = {k: weights[k].clone().requires_grad_() for k in ("analysis", "synthesis")}
    optimizer = torch.optim.Adam(learned.values(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    codec = LinearCodec(weights={**weights, **learned}, factor=factor)
    for _ in range(steps):
        picked = pictures[torch.randint(len(pictures), (16,), generator=generator)]
        drawn = codec.decode(codec.encode(picked).latent_dist.mode()).sample
        loss = (drawn - picked).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return {"mean": weights["mean"], **{k: v.detach() for k, v in learned.items()}}
