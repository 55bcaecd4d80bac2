"""CORAL's panels and losses on Stable Diffusion 3.5 medium (2.5 billion parameters), 1024x768.

Canvas and mask are channels that SD3 never saw: its patch embedding gets 80 more, from zero, and
trains with the attention. SD3 has no rotary positions, so the pose panel has positions of its own.
No published numbers exist for this backbone; what differs from ``dit_vitonhd.py`` is ours.
"""

from mmengine.config import read_base

with read_base():
    from .dit_vitonhd import *

pretrained = "stabilityai/stable-diffusion-3.5-medium"
supervised_layers = [f"transformer_blocks.{block}.attn" for block in (8, 10, 12)]  # ours

model.update(
    lora=None,
    trainable=["*.attn.*", "*.attn2.*", "pos_embed.proj.*"],
    sampler=dict(type="FlowMatchEulerSampler", num_steps=28, shift=3.0),  # SD3's own shift
)
model.backbone.update(cls="SD3Transformer2DModel")
model.conditioner.prompt.update(pipeline="StableDiffusion3Pipeline", max_length=256)
model.sampler.pop("dynamic_shifting", None)
optim_wrapper.optimizer.update(lr=2e-5)
released = None  # no weights of this backbone were published
