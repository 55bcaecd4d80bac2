"""CORAL's losses on FLUX.2 klein base 4B (Apache-2.0), 1024x768, LoRA on attention; one 24 GB card.

klein has no fill variant, and was trained to edit with clean reference pictures in its sequence. So
agnostic person, garment and pose are references (`ReferenceTokensConditioner` says which positions
they get) in place of panels with canvas and mask channels; person queries meet garment keys in the
same full attention. No published numbers exist for this backbone; all that differs from
``coral/dit_vitonhd.py`` is ours. Cached latents keep the VAE out of training::

    python tools/cache_latents.py configs/klein/dit_vitonhd.py --device cuda --dtype float16 \
        --out work_dirs/latents/klein
    python tools/train.py configs/klein/dit_vitonhd.py --cfg-options model.lazy_codec=True \
        train_dataloader.dataset.latents=work_dirs/latents/klein
"""

from mmengine.config import read_base

with read_base():
    from ..coral.dit_vitonhd import *

pretrained = "black-forest-labs/FLUX.2-klein-base-4B"
supervised_layers = [f"transformer_blocks.{block}.attn" for block in (3, 4)]  # ours, not yet probed

model.conditioner = dict(
    type="ReferenceTokensConditioner",
    prompt=dict(
        type="CachedPrompt",
        path=None,
        pipeline="Flux2KleinPipeline",
        prompts=(
            "The person of image 1 wearing the garment of image 2 in the pose of image 3. The grey "
            "area of image 1 is filled; everything else stays."
        ),
    ),
)
model.lora.target_modules = [  # single blocks: one projection into attention and MLP, one out
    *(f"attn.{name}" for name in ("to_q", "to_k", "to_v", "to_out.0", "to_add_out")),
    *(f"attn.add_{name}_proj" for name in "qkv"),
    "attn.to_qkv_mlp_proj",
    *(f"single_transformer_blocks.{block}.attn.to_out" for block in range(20)),
]
model.sampler = dict(type="FlowMatchEulerSampler", num_steps=28, dynamic_shifting="flux2")
model.backbone.update(cls="Flux2Transformer2DModel")
model.codec.update(cls="AutoencoderKLFlux2")
for _loss in model.attention_losses.values():
    _loss.update(layers=supervised_layers)
model.probe.update(layers=supervised_layers)
released = None  # no weights of this backbone were published
