"""One rank of test_synthesis_ranks: two training steps of a small second stage.

Usage: python synthesis_worker.py RENDEZVOUS_FILE RANK WORLD_SIZE OUTPUT
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.model import MMSeparateDistributedDataParallel
from mmengine.registry import DefaultScope

from vtonlab.engine.parallel.parts import plain_keys
from vtonlab.engine.running.optimizers import MultiOptimWrapperConstructor

sys.path.insert(0, str(Path(__file__).parent))
from small_synthesis import batch, make

BATCH = 4
PLAIN = dict(optimizer=dict(type="SGD", lr=0.01))  # Adam would blow up rounding


def trained(model, numbers: list[int]) -> dict[str, torch.Tensor]:
    """Parameters after two steps, the first with R1, on these samples."""
    with DefaultScope.overwrite_default_scope("vtonlab"):
        parts = dict(generator=PLAIN, discriminator=PLAIN)
        wrappers = MultiOptimWrapperConstructor(parts)(model)
    for step in range(2):
        model.train_step(batch(numbers) | {"step": step}, wrappers)
    bare = getattr(model, "module", model)
    return {k: v.detach().clone() for k, v in plain_keys(bare.state_dict(), bare).items()}


def main(rendezvous: str, rank: int, world_size: int, output: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world_size
    )
    # as `model_wrapper_cfg` of tryon_deepfashion.py wraps it
    model = MMSeparateDistributedDataParallel(make(), broadcast_buffers=False)
    found = trained(model, list(range(BATCH))[rank::world_size])
    dist.destroy_process_group()
    torch.save(found, output)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
