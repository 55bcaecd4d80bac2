"""CORAL on Dress Code, all three categories; each has a prompt that names it."""

from mmengine.config import read_base

with read_base():
    from .dit_vitonhd import *

data_root = "data/dresscode"
model.update(categories=["upper_body", "lower_body", "dresses"])
_words = dict(
    upper_body=("an upper garment", "upper garment"),
    lower_body=("a lower garment", "lower garment"),
    dresses=("a dress", "dress"),
)
model.conditioner.prompt.update(
    prompts={  # ours, as dit_vitonhd.py's
        category: f"Two photographs side by side: on the left {one} on a plain background, on the "
        f"right a person wearing this same {word}."
        for category, (one, word) in _words.items()
    }
)
train_dataloader.dataset.update(type="DressCodeDataset")
val_dataloader.dataset.update(type="DressCodeDataset")
test_dataloader.dataset.update(type="DressCodeDataset")
released.update(
    {
        "model.conditioner.prompt": dict(
            type="CachedPrompt", path=None, template="catvton_flux_by_category"
        )
    }
)
