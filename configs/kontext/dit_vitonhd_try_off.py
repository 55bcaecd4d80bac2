"""Try-off on FLUX.1-Kontext: the photograph of a dressed person in, the flat garment out; VITON-HD,
1024x768, LoRA.

Garment tokens are the queries, the person's the keys, and the matches of try-on are inverted
(`TryOff`).
"""

from mmengine.config import read_base

with read_base():
    from .dit_vitonhd import *

model.conditioner.update(references=[dict(role="garment")])  # TryOff: the person's photograph
model.conditioner.prompt.update(
    prompts="A product picture of the garment that the person wears, flat on white."
)
for _loader in (train_dataloader, val_dataloader, test_dataloader):
    _loader["dataset"].update(
        maps=["mask", "garment_mask", "worn_mask"],
        paint_hair=False,
        transforms=[dict(type="TryOff")],
    )
