"""Try-on with a worn reference on FLUX.1-Kontext: the person in other clothes, the garment and a
photograph of somebody else who wears it; mask-free, 1024x768, LoRA.

Pairs by a table (docs/data.md) with the columns ``person`` (wearing the garment), ``garment``,
``worn``, ``before`` (the same person in other clothes, as another try-on model draws it) and
``mask`` or what it is made from; the mask only says where errors are counted.
"""

from mmengine.config import read_base

with read_base():
    from .dit_vitonhd import *

data_root = "data/pairs"
model.update(categories=["upper_body", "lower_body", "dresses"])
model.conditioner.update(
    references=[dict(role="before"), dict(role="garment"), dict(role="worn", dropout=0.2)]
)
model.conditioner.prompt.update(
    prompts=(
        "The person of the first picture wearing the garment of the second picture, as it is worn "
        "in the third picture."
    )
)
_pairs = dict(type="PairListDataset", maps=["mask", "garment_mask", "before", "worn"])
for _loader in (train_dataloader, val_dataloader, test_dataloader):
    _loader["dataset"].update(**_pairs, paint_hair=False)
