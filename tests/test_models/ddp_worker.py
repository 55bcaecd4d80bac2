"""One rank of test_distributed: gradients of the tiny CORAL model on this rank's samples.

Usage: python ddp_worker.py RENDEZVOUS_FILE RANK WORLD_SIZE OUTPUT
"""

import importlib.util
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel

from vtonlab.engine.config.load import load_config
from vtonlab.models import TryOnDiffusion
from vtonlab.structures.sample import collate

CONFIG = Path(__file__).parents[2] / "configs/coral/dit_synthetic.py"
BATCH = 4
# name -> numbers of the samples without correspondences; two ranks take 0, 2 and 1, 3
UNMATCHED = {
    "all matched": (),
    "one rank without": (1, 3),
    "one sample matched": (0, 1, 3),
    "none matched": (0, 1, 2, 3),
}


def _conftest():
    """The tests' samples, loaded by path: several folders have a module of this name."""
    spec = importlib.util.spec_from_file_location(
        "samples_of_models", Path(__file__).with_name("conftest.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sample = _conftest().sample


COMPILED = dict(gradient_checkpointing=True, compile=dict(backend="aot_eager"))


def make_model(**changes) -> TryOnDiffusion:
    """``dit_synthetic.py`` at 32x24; a gate that some samples miss, entropy from the start."""
    torch.manual_seed(0)
    settings = load_config(CONFIG).model.to_dict()
    del settings["type"]
    settings |= dict(size=(32, 24), seed=0) | changes
    settings["attention_losses"]["correspondence"] |= dict(t_max=700.0, weight=1.0)
    settings["attention_losses"]["entropy"] |= dict(start_iter=0, warmup_iters=0, weight=1.0)
    return TryOnDiffusion(**settings)


def step(model, numbers: list[int], unmatched: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Gradients, and the total loss, after one backward on these samples."""
    bare = getattr(model, "module", model)
    batch = bare.data_preprocessor(collate([sample(n, n not in unmatched) for n in numbers]))
    model.zero_grad()
    total, _ = bare.parse_losses(model(mode="loss", step=0, **batch))
    total.backward()
    gradients = {k: p.grad.clone() for k, p in bare.named_parameters() if p.grad is not None}
    return gradients | {"total": total.detach()}


def main(rendezvous: str, rank: int, world_size: int, output: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world_size
    )
    numbers = list(range(BATCH))[rank::world_size]

    def wrapped(**changes) -> MMDistributedDataParallel:
        """As `finalize(config, launcher=...)` wraps it without a GPU."""
        model = make_model(**changes)
        return MMDistributedDataParallel(model, broadcast_buffers=False, device_ids=None)

    model = wrapped()
    results = {name: step(model, numbers, unmatched) for name, unmatched in UNMATCHED.items()}
    results["compiled"] = step(wrapped(**COMPILED), numbers, ())
    for result in results.values():
        dist.all_reduce(result["total"])
        result["total"] /= world_size
    dist.destroy_process_group()
    torch.save(results, output)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
