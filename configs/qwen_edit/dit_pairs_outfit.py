"""Outfits on Qwen-Image-Edit-2509: the person in other clothes and two garments in, the person in
both out; mask-free, 1024x768, LoRA.

Pairs by a table (docs/data.md) with the columns ``person`` (wearing both), ``garment``,
``garment_2``, ``before`` (the same person in other clothes, as another try-on model draws it) and
``mask`` or what it is made from; the mask only says where errors are counted. Each garment has
matches, records and losses of its own.
"""

from mmengine.config import read_base

with read_base():
    from .dit_vitonhd import *

data_root = "data/outfits"
model.update(categories=["upper_body", "lower_body", "dresses"])
model.conditioner.update(
    references=[dict(role="before"), dict(role="garment"), dict(role="garment_2")],
    supervise=["garment", "garment_2"],
)
model.conditioner.prompt.update(
    pictures=["before", "garment", "garment_2"],
    templates="The person of Picture 1 wearing the garments of Picture 2 and Picture 3.",
)
for _name, _loss in list(model.attention_losses.items()):
    model.attention_losses[f"{_name}_2"] = {**_loss, "reference": "garment_2"}
_pairs = dict(type="PairListDataset", maps=["mask", "garment_mask", "before", "garment_2"])
train_dataloader.dataset.update(**_pairs, matched=["garment_2"], paint_hair=False)
val_dataloader.dataset.update(**_pairs, matched=["garment_2"], paint_hair=False)
test_dataloader.dataset.update(**_pairs, paint_hair=False)
