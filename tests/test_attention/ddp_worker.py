"""One rank of test_recorder_ddp: supervised steps under DDP, with a backbone of two tiny blocks.

Usage: python ddp_worker.py RENDEZVOUS_FILE RANK WORLD_SIZE OUTPUT
"""

import sys

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vtonlab.attention import AttentionRecorder


class Attention(nn.Module):
    """Self-attention with a processor, as diffusers writes it; 2 heads of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.processor = SelfProcessor()

    def forward(self, x: Tensor) -> Tensor:
        return self.processor(self, x)


class SelfProcessor:
    def __call__(self, attention: Attention, x: Tensor) -> Tensor:  # (B, N, 8)
        q, k, v = attention.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        return attention.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class TwoBlocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Attention(), Attention()])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + checkpoint(block, x, use_reentrant=False)
        return x


class Supervised(nn.Module):
    """A model as ours are: the backbone and its recorder inside, one loss out."""

    def __init__(self, backbone: nn.Module, layers: list[str]) -> None:
        super().__init__()
        self.backbone, self.layers = backbone, layers

    def forward(self, **inputs) -> Tensor:
        with AttentionRecorder(
            self.backbone, layers=self.layers, to_record=lambda *record: record
        ) as recorder:
            output = self.backbone(**inputs)
        loss = output[0].square().mean() if isinstance(output, tuple) else output.square().mean()
        for _, query, key, scale in recorder.records:
            maps = (scale * query @ key.transpose(-1, -2)).softmax(-1)  # (B, H, N, M)
            loss = loss + maps.square().sum(-1).mean()
        return loss


def make_supervised() -> tuple[Supervised, dict[str, Tensor]]:
    """The model in float64 and a batch of two; the same on every rank."""
    torch.manual_seed(0)
    model = Supervised(TwoBlocks(), ["blocks.1"]).double()
    return model, {"x": torch.randn(2, 6, 8, dtype=torch.float64)}


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def run(model: nn.Module, inputs: dict, rendezvous: str, rank: int, world_size: int):
    """Gradients of this rank's second step on its rows; DDP rebuilds buckets after the first."""
    dist.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world_size
    )
    parallel = nn.parallel.DistributedDataParallel(model)
    for _ in range(2):
        parallel.zero_grad()
        parallel(**inputs).backward()
    dist.destroy_process_group()
    return gradients(model)


def main(rendezvous: str, rank: int, world_size: int, output: str) -> None:
    torch.set_num_threads(1)
    model, inputs = make_supervised()
    rows = {key: value[rank::world_size] for key, value in inputs.items()}
    torch.save(run(model, rows, rendezvous, rank, world_size), output)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
