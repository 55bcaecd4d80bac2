"""Try-on with a worn reference at laptop size: beside the garment, the network is shown somebody
else who wears it.

Mask-free as ``dit_synthetic.py``; both references are supervised, each with its own matches.
"""

from mmengine.config import read_base

with read_base():
    from .dit_synthetic import *

model.conditioner.update(
    references=[dict(role="person"), dict(role="garment"), dict(role="worn")],
    supervise=["garment", "worn"],
)
for _name, _loss in list(model.attention_losses.items()):
    model.attention_losses[f"{_name}_worn"] = {**_loss, "reference": "worn"}
for _loader in (train_dataloader, val_dataloader, test_dataloader):
    _loader["dataset"].update(maps=["flow", "correspondences", "worn"])
for _evaluator in (val_evaluator, test_evaluator):
    _evaluator.append(dict(type="AttentionPCK", layers=supervised_layers, reference="worn"))
