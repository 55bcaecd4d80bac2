"""The laptop-size CORAL losses on the editing network of this project, with reference pictures.

    python tools/train.py projects/own_family/configs/editor_synthetic.py

from the root of the repository, which is where ``custom_imports`` looks.
"""

from mmengine.config import read_base

with read_base():
    from ....configs.coral.dit_synthetic import *

custom_imports = dict(imports=["projects.own_family.family"])

layers = ["blocks.1.attn"]
model.backbone = dict(type="AuraEditor", heads=4, head_size=24)
model.conditioner = dict(
    type="ReferenceTokensConditioner", prompt=dict(type="NullPrompt", dim=16, pooled_dim=16)
)
for _loss in model.attention_losses.values():
    _loss.update(layers=layers)
val_evaluator = [dict(type="AttentionPCK", layers=layers)]
test_evaluator = [dict(type="AttentionPCK", layers=layers), dict(type="ImageErrors")]
