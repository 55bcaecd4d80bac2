"""One rank of test_sharding: the tiny FLUX of `flux_folder`, trained through the runner.

Usage: python sharding_worker.py RANK WORLD_SIZE PORT FOLDER

``FOLDER/flux`` holds the weights; each case trains into ``FOLDER/<ranks>/<case>``.
"""

import importlib.util
import os
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
GLOBAL_BATCH = 4
CASES = ("whole", "recomputed", "resumed", "half", "lora")


def _layout_tests():
    place = Path(__file__).with_name("test_flux_real_layout.py")
    spec = importlib.util.spec_from_file_location("flux_real_layout", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def case_config(case: str, folder: Path, ranks: int, resume: Path | None = None):
    """``dit_vitonhd_full.py`` with tiny weights: float32 but in the last two cases; averages,
    gradients accumulated and clipped, and beside CORAL's losses one with parameters of its own.
    """
    path = ROOT / "configs/coral/dit_vitonhd_full.py"
    config = _layout_tests().tiny_config(folder / "flux", folder, path)
    config.work_dir = str(folder / str(ranks) / case)
    config.model.gradient_checkpointing = case in ("recomputed", "lora")
    config.train_dataloader.batch_size = GLOBAL_BATCH // ranks
    config.train_dataloader.dataset.update(length=8, cache_dir=str(folder / "people"))
    config.train_cfg.max_iters = 6 if case in ("whole", "resumed") else 2
    config.optim_wrapper.accumulative_counts = 2
    config.default_hooks.checkpoint.max_keep_ckpts = -1
    config.optim_wrapper.optimizer.update(lr=1e-3, eps=1e-4)  # steps continuous in the gradients
    config.optim_wrapper.clip_grad.max_norm = 0.5
    config.param_scheduler = None
    config.visualizer.vis_backends = []
    config.log_level = "ERROR"
    config.custom_hooks = [
        dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.1),
        dict(type="DiffusersExportHook", max_shard_size=20_000),
    ]
    if case == "recomputed":  # a pass without gradients after each step changes nothing
        config.custom_hooks.append(dict(type="SampleGridHook", interval=1, samples=1, people=0))
    if case == "recomputed":
        config.model.compile = dict(backend="aot_eager")
    if case == "lora":
        config.model.update(lora=dict(rank=4), trainable=None)
        config.model.backbone.dtype = "bfloat16"
        config.custom_hooks = config.custom_hooks[1:]
    else:
        config.model.attention_losses.flow = dict(
            type="AttentionFlowLoss",
            layers=["single_transformer_blocks.0.attn"],
            sink_dims={"single_transformer_blocks.0.attn": [2, 16]},
            upsample=False,
            t_max=None,
        )
    if case not in ("half", "lora"):
        config.sharding.param_dtype = None
        config.optim_wrapper.type = "FiniteOptimWrapper"
        config.optim_wrapper.pop("dtype")
    if resume is not None:
        config.load_from, config.resume = str(resume), True
    if ranks > 1:
        from vtonlab.engine.config.load import finalize

        config = finalize(config, work_dir=config.work_dir, launcher="pytorch")
    return config


def main(rank: int, ranks: int, port: str, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK="0", WORLD_SIZE=str(ranks))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    from torch.distributed.tensor import DTensor

    from vtonlab.engine.running.training import train

    for case in CASES:
        before = folder / str(ranks) / "whole/iter_4.pth" if case == "resumed" else None
        model = train(case_config(case, folder, ranks, before)).bare_model
        for name, parameter in model.named_parameters():
            assert isinstance(parameter, DTensor) == name.startswith("backbone."), name
            if isinstance(parameter, DTensor):
                assert parameter.to_local().numel() <= -(-len(parameter) // ranks) * (
                    parameter.numel() // len(parameter)
                )
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
