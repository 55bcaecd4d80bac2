"""The laptop-size CORAL config with a matcher, an attention loss and a conditioner of this project.

    python tools/train.py projects/example_project/configs/clean_garment_synthetic.py

from the root of the repository, which is where ``custom_imports`` looks.
"""

from mmengine.config import read_base

with read_base():
    from ....configs.coral.dit_synthetic import *

custom_imports = dict(imports=["projects.example_project.modules"])

model.conditioner.update(type="CleanGarmentConditioner")
model.attention_losses = dict(
    two_way=dict(type="TwoWayDistanceLoss", layers=supervised_layers, weight=3.0)
)
train_dataloader.dataset.transforms = [
    dict(type="MatchOnTheFly", matcher=dict(type="ColourPositionMatcher"))
]
