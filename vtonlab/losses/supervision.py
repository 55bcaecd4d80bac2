"""Which samples and layers the attention losses of a step act on, known before the network runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from vtonlab.losses.base import AttentionLoss
from vtonlab.losses.record_views import take_samples
from vtonlab.losses.supervised_batch import SupervisedBatch
from vtonlab.structures.attention_record import AttentionRecord
from vtonlab.utils.upload import upload


class Supervision:
    """Work that a gate or a start iteration would multiply by zero is left out.

    Only layers of losses that act are recorded, and records are cut down to the samples inside any
    of their gates; nothing is read off a device for that, because noise levels are drawn on the
    host. Losses are what they are with all records and samples. Monitors tell of what was looked
    at: the garment mass of samples that some gate lets in, and nothing of a loss that has not set
    in.

    Args:
        losses: by name.
        timesteps: (B,) on the 0..1000 scale, on the host.
        step: training iteration.
    """

    def __init__(self, losses: Mapping[str, AttentionLoss], timesteps: Tensor, step: int) -> None:
        inside = {name: loss.inside(timesteps, step) for name, loss in losses.items()}
        self.losses, self.timesteps, self.step = losses, timesteps, step
        self.acting = [name for name, samples in inside.items() if samples.any()]
        chosen = sum((inside[name] for name in self.acting), timesteps.new_zeros(len(timesteps)))
        whole = any(losses[name].reads_whole_batch for name in self.acting)
        self.samples = None if whole else chosen.nonzero()[:, 0].tolist()

    @property
    def layers(self) -> list[str]:
        """Name patterns of the layers to record."""
        return layer_patterns(self.losses[name] for name in self.acting)

    def __call__(self, records: Sequence[AttentionRecord], batch: Mapping, like: Tensor) -> dict:
        """``loss_<name>`` of each loss and its monitors.

        Args:
            records: of `layers`, over the whole batch.
            batch: the preprocessed batch.
            like: on the device of a loss that has nothing to act on.
        """
        some = SupervisedBatch(batch, len(self.timesteps), self.samples)
        found = {}
        if self.acting:
            device = records[0].query.device if records else like.device
            records = [take_samples(record, some) for record in records]
            timesteps = self.timesteps if some.samples is None else self.timesteps[some.samples]
            timesteps = upload(timesteps, device)
        for name, loss in self.losses.items():
            if name in self.acting:
                result = loss(records, some, timesteps=timesteps, step=self.step)
            else:
                result = loss.idle(like.device, self.step)
            found[f"loss_{name}"] = result.pop("loss")
            found |= {f"{name}_{key}": value for key, value in result.items()}
        return found


def layer_patterns(losses) -> list[str]:
    """Name patterns of the layers that any of the losses reads, each once."""
    patterns: dict[str, None] = {}
    for loss in losses:
        patterns |= dict.fromkeys(loss.layers or ["*"])
    return list(patterns)
