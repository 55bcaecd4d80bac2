"""Two garments at once at laptop size: a shirt and trousers (or a skirt), each a reference with its
own matches, records and losses.

Mask-free as ``dit_synthetic.py``; people are shown whole, in two other garments.
"""

from mmengine.config import read_base

with read_base():
    from .dit_synthetic import *

model.conditioner.update(
    references=[dict(role="person"), dict(role="garment"), dict(role="garment_2")],
    supervise=["garment", "garment_2"],
)
for _name, _loss in list(model.attention_losses.items()):
    model.attention_losses[f"{_name}_2"] = {**_loss, "reference": "garment_2"}
for _loader in (train_dataloader, val_dataloader, test_dataloader):
    _loader["dataset"].update(outfit=True, maps=["flow", "correspondences"])
for _evaluator in (val_evaluator, test_evaluator):
    _evaluator.append(dict(type="AttentionPCK", layers=supervised_layers, reference="garment_2"))
