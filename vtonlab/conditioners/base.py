"""What every conditioner answers: how the garment enters a backbone, and where its attention can be
read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vtonlab.attention import list_attention_layers
from vtonlab.structures import AttentionRecord

Encode = Callable[
    [Tensor], Tensor
]  # pictures (B, 3, H, W) in [-1, 1] -> latents, scaled as the backbone wants them


@dataclass
class Prediction:
    """The network's answer on the generated latents, and the attention records of the layers asked
    for.
    """

    sample: Tensor  # same shape as the noisy latents
    records: list[AttentionRecord] = field(default_factory=list)


class Conditioner(nn.Module):
    """Base of all conditioners.

    The diffusion process of a try-on model runs on ``target(...)``; everything the network is told
    beside the noisy latents is computed once by ``prepare(...)`` and reused at every sampling step.

    ``saved_when_frozen`` lists beginnings of parameter names that checkpoints hold even where they
    do not train, because an earlier stage may have trained them.
    """

    saved_when_frozen: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of a batch that `target` and `prepare` read, beside those every sample has."""
        return ()

    def attach(self, backbone: nn.Module) -> None:
        """Fit ``backbone`` to this conditioner, once, before anything is frozen or trained.

        For conditioners that change input channels, take layers out or start from a copy of the
        backbone (which inherits its gradient checkpointing). By default nothing.
        """

    def recorded(self, backbone: nn.Module) -> nn.Module:
        """The module that the ``layers`` of `forward` are names in: the backbone, or own blocks."""
        return backbone

    def readable(self, backbone: nn.Module) -> list[str]:
        """Names, in execution order, of all layers whose records hold person and garment: those
        that see the pictures' tokens, by default.
        """
        layers = list_attention_layers(self.recorded(backbone))
        kinds = ("self", "joint", "single")
        return [layer.name for layer in layers if layer.kind in kinds and not layer.unseen]

    def target(self, batch: dict, encode: Encode) -> Tensor:
        """Clean latents that training noises and sampling ends at."""
        raise NotImplementedError

    def prepare(self, batch: dict, encode: Encode) -> dict[str, Any]:
        """Everything that stays the same over the noise levels: canvases, positions, text."""
        raise NotImplementedError

    def blank(self, conditions: dict[str, Any]) -> Tensor | None:
        """Latents of ``target``'s shape, type and place, read off ``conditions``, so that sampling
        encodes no picture for its shape; what they hold is not used. None: ``target`` is made.
        """
        return None

    def drop(self, conditions: dict[str, Any], dropped: Tensor) -> dict[str, Any]:
        """``conditions`` with the garment withheld from the samples of ``dropped`` (B,) bool.

        Raises:
            ValueError: this conditioner cannot; only some can be trained for guidance.
        """
        raise ValueError(
            f"{type(self).__name__} cannot withhold its garment: set condition_dropout=0 and "
            "guidance_scale=1"
        )

    def withheld(self, dropped: Tensor) -> Tensor:
        """Of the samples of ``dropped`` (B,) bool, those whose attention to the garment means
        nothing after :meth:`drop` and is not supervised: all, unless ``drop`` keeps what is
        attended to.
        """
        return dropped

    @property
    def dropouts(self) -> Mapping[str, float]:
        """Share of training samples that go without a part of the conditions, by the part's name.

        Beside the model's ``condition_dropout``, which withholds the garment by `drop`.
        """
        return {}

    def drop_parts(
        self, conditions: dict[str, Any], dropped: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        """``conditions`` without some parts of `dropouts`: name -> samples (B,) bool."""
        raise NotImplementedError

    def withholds_garment(self, dropped: Mapping[str, Tensor]) -> Tensor | None:
        """Samples (B,) bool that `drop_parts` leaves without the supervised garment; None for
        none.
        """
        return None

    def unconditional(self, conditions: dict[str, Any]) -> dict[str, Any]:
        """``conditions`` of guidance's second prediction: what training dropped, for all samples.

        ``sequence_length`` and shapes stay. Override it where that can be had cheaper.
        """
        raise ValueError(f"{type(self).__name__} has no unconditional prediction")

    def joined(self, conditions: dict[str, Any], without: dict[str, Any]) -> dict[str, Any]:
        """``conditions`` and then those ``without`` the garment as one batch of twice the samples,
        for one call of the network on both. Override it where they differ in more than values.
        """
        return {key: _joined(value, without[key]) for key, value in conditions.items()}

    def forward(
        self,
        backbone: nn.Module,
        noisy: Tensor,
        sigmas: Tensor,
        conditions: dict[str, Any],
        layers: Sequence[str] = (),
    ) -> Prediction:
        """Run ``backbone`` once on ``noisy`` at noise levels ``sigmas`` (B,), recording ``layers``
        (name patterns).
        """
        raise NotImplementedError

    def start(self, noise: Tensor, conditions: dict[str, Any]) -> Tensor:
        """Where sampling starts, from ``noise`` like ``target(...)``; a conditioner may add latents
        that the sampler steps too.
        """
        return noise

    def finish(self, latents: Tensor) -> Tensor:
        """Sampled latents without what ``start`` added."""
        return latents

    def person_latents(self, latents: Tensor) -> Tensor:
        """The part of the generated latents that decodes to the dressed person."""
        raise NotImplementedError

    def sequence_length(self, conditions: dict[str, Any]) -> int:
        """Image tokens the backbone sees, for schedules that depend on it."""
        raise NotImplementedError


def _joined(first: Any, second: Any) -> Any:
    """Tensors one after the other, lists place by place; what is no tensor is the same in both."""
    if isinstance(first, Tensor):
        return torch.cat([first, second])
    if isinstance(first, list):
        return [_joined(one, other) for one, other in zip(first, second, strict=True)]
    assert first == second
    return first
