"""CORAL person to person: the garment comes from another photograph of a dressed person.

Pairs by a table (docs/data.md): ``person,garment,category,garment_mask`` and the maps. Both
pictures of a training pair show the same clothes, such as two frames of one shoot. The authors
train on Dress Code and test on PPR10K: ``dit_dresscode.py`` tested with this config's data set.
"""

from mmengine.config import read_base

with read_base():
    from .dit_vitonhd import *

data_root = "data/pairs"
model.update(categories=["upper_body", "lower_body", "dresses"])
model.conditioner.prompt.update(
    prompts=(  # ours
        "Two photographs side by side: on the left a person wearing a garment, on the right a "
        "person wearing this same garment."
    )
)
released.update(  # its authors test this task with Dress Code's weights
    {
        "model.conditioner.prompt": dict(
            type="CachedPrompt", path=None, template="catvton_flux_by_category"
        )
    }
)
_dataset = dict(type="PairListDataset", task="person_to_person")
train_dataloader.dataset.update(_dataset)
val_dataloader.dataset.update(_dataset)
test_dataloader.dataset.update(_dataset)
