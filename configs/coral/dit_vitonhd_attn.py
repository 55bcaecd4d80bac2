"""CORAL with its attention projections tuned in full instead of through LoRA; one 80 GB card.

2.5 of the 11.9 billion parameters train, in float32; the rest stays frozen in bfloat16
(METHODS.md A11; memory: docs/memory.md).
"""

from mmengine.config import read_base

with read_base():
    from .dit_vitonhd import *

model.update(lora=None, trainable=["*transformer_blocks.*.attn.*"])
optim_wrapper.optimizer.update(lr=1e-5)  # A11
