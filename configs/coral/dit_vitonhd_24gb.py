"""CORAL on one 24 GB card: LoRA of rank 16 over a frozen base of 4 bits, 8-bit optimiser.

Needs ``pip install bitsandbytes``, and latents and prompts cached before training, so that neither
VAE (but to validate and to draw) nor text encoders are loaded::

    python tools/extract_matches.py configs/coral/dit_vitonhd_24gb.py --device cuda
    python tools/cache_latents.py configs/coral/dit_vitonhd_24gb.py --device cuda --dtype float16 \
        --out work_dirs/latents/vitonhd
    python tools/train.py configs/coral/dit_vitonhd_24gb.py

Sizes: docs/memory.md.
"""

from mmengine.config import read_base

with read_base():
    from .dit_vitonhd import *

model.update(lora=dict(rank=16), lazy_codec=True)
model.backbone.update(quantize=dict(load_in_4bit=True, bnb_4bit_quant_type="nf4"))
optim_wrapper.optimizer.update(type="AdamW8bit")
train_dataloader.dataset.update(latents="work_dirs/latents/vitonhd")
