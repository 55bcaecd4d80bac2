"""CORAL's losses on FLUX.1-Kontext (non-commercial), 1024x768, LoRA on attention.

Kontext edits with clean reference pictures in its sequence: agnostic person, garment and pose are
references in place of panels with canvas and mask channels. No published numbers exist for these
losses on this backbone; layers, weights and gate are those of ``coral/dit_vitonhd.py``.
"""

from mmengine.config import read_base

with read_base():
    from ..coral.dit_vitonhd import *

pretrained = "black-forest-labs/FLUX.1-Kontext-dev"

model.conditioner = dict(
    type="ReferenceTokensConditioner",
    guidance_scale=2.5,  # of diffusers' pipeline
    references=[dict(role="agnostic"), dict(role="garment"), dict(role="pose")],
    prompt=dict(
        type="CachedPrompt",
        path=None,
        pipeline="FluxKontextPipeline",
        prompts=(
            "The person of the first picture wearing the garment of the second picture in the pose "
            "of the third picture. The grey area is filled; everything else stays."
        ),
    ),
)
released = None  # of CORAL's weights, which are for FLUX.1-Fill
