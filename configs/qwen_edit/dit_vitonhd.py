"""CORAL's losses on Qwen-Image-Edit-2509 (Apache-2.0), 1024x768, LoRA on attention.

The model edits with up to three clean pictures in its sequence, and its text encoder looks at them
too: agnostic person, garment and pose are references and are shown to the encoder, once, by
``tools/cache_prompts.py`` before training. No published numbers exist for these losses on this
backbone; layers (not probed), weights and gate are those of ``coral/dit_vitonhd.py`` or ours::

    python tools/cache_prompts.py configs/qwen_edit/dit_vitonhd.py
    python tools/train.py configs/qwen_edit/dit_vitonhd.py
"""

from mmengine.config import read_base

with read_base():
    from ..coral.dit_vitonhd import *

pretrained = "Qwen/Qwen-Image-Edit-2509"
supervised_layers = [f"transformer_blocks.{block}.attn" for block in (20, 25, 30)]  # ours, of 60

model.conditioner = dict(
    type="ReferenceTokensConditioner",
    references=[dict(role="agnostic"), dict(role="garment"), dict(role="pose")],
    prompt=dict(
        type="PairPrompt",
        path=None,
        pipeline="QwenImageEditPlusPipeline",
        pictures=["agnostic", "garment", "pose"],
        max_length=1024,
        templates=(
            "The person of Picture 1 wearing the garment of Picture 2 in the pose of Picture 3. "
            "The grey area of Picture 1 is filled; everything else stays."
        ),
    ),
)
model.sampler = dict(
    type="FlowMatchEulerSampler", num_steps=40, dynamic_shifting="qwen_image"
)  # of diffusers' pipeline
model.backbone.update(cls="QwenImageTransformer2DModel")
model.codec.update(cls="AutoencoderKLQwenImage")
for _loss in model.attention_losses.values():
    _loss.update(layers=supervised_layers)
model.probe.update(layers=supervised_layers)
released = None  # no weights of this backbone were published
