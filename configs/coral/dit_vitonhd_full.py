"""CORAL with all 11.9 billion parameters tuned, shared out over several cards (METHODS.md A11)::

    torchrun --nproc-per-node 8 tools/train.py configs/coral/dit_vitonhd_full.py --launcher pytorch

Each card keeps its share of float32 weights, gradients and moments, 16 bytes a parameter; a block
is gathered in bfloat16 while it runs. What fits where: docs/memory.md, or ``--estimate --gpus 8``.
"""

from mmengine.config import read_base

with read_base():
    from .dit_vitonhd import *

model.update(lora=None, trainable=["*"])
sharding = dict(
    blocks=["transformer_blocks.*", "single_transformer_blocks.*"], param_dtype="bfloat16"
)
optim_wrapper.update(accumulative_counts=1)  # eight cards make the batch of eight
optim_wrapper.optimizer.update(lr=1e-5)
custom_hooks = [
    dict(type="DiffusersExportHook", dtype="bfloat16"),  # 24 GB instead of 48
    dict(type="MemoryReportHook"),
    dict(type="LossShareHook"),
    dict(type="SampleGridHook", interval=4000),
]
