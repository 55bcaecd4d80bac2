"""Try-off at laptop size: the flat garment is drawn from the photograph of the person who wears it.

Garment tokens are the queries, the person's the keys, and the correspondences are inverted
(`TryOff`); losses, network and schedule are those of try-on.
"""

from mmengine.config import read_base

with read_base():
    from .dit_synthetic import *

model.conditioner.update(references=[dict(role="garment")])  # TryOff: the person's photograph
for _loader in (train_dataloader, val_dataloader, test_dataloader):
    _loader["dataset"].update(setting="paired", transforms=[dict(type="TryOff")])
