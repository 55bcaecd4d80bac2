"""Mask-free try-on at laptop size: the dressed person is drawn whole from a photograph of the
person in other clothes and the garment, both as clean reference pictures (as on FLUX.1-Kontext).

No agnostic picture, no mask: the mask only weighs the diffusion loss. The rendered people give what
no photograph has, the same person in both garments.
"""

from mmengine.config import read_base

with read_base():
    from ..coral.dit_synthetic import *

model.backbone.update(in_channels=48)  # packed latents alone: nothing is channel-concatenated
model.conditioner = dict(
    type="ReferenceTokensConditioner",
    references=[dict(role="person"), dict(role="garment")],
    prompt=dict(type="NullPrompt", dim=16, pooled_dim=16),
)
model.mask_loss_weight = 3.0
for _loader in (train_dataloader, val_dataloader, test_dataloader):
    _loader["dataset"].update(setting="unpaired")
