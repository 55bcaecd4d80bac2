"""Every reader, on the tree that make_synthetic writes in its layout, through a training run."""

import csv
from pathlib import Path

import pytest
import torch

from vtonlab.engine.config.load import finalize, load_config
from vtonlab.engine.running.training import train

ROOT = Path(__file__).parents[2]
TRANSFORMS = [
    dict(type="RandomHFlip", prob=0.5),
    dict(type="RandomAffine", target="person", shift=0.1, scale=(0.9, 1.1), rotate=5),
    dict(type="RandomAffine", target="garment", shift=0.1, scale=(0.9, 1.1)),
    dict(type="ColorJitter", brightness=(-0.1, 0.02), contrast=0.3, hue=0.02),
    dict(type="DilateMask", size=(0.0, 0.02)),
    dict(type="Pack", keys=["agnostic", "mask", "garment_mask", "pose"]),
]
READERS = {
    "VITON-HD": ("vitonhd", dict(type="VITONHDDataset")),
    "VITON-HD, built masks": ("vitonhd", dict(type="VITONHDDataset", build_mask=dict(box=True))),
    "Dress Code": ("dresscode", dict(type="DressCodeDataset")),
    "one category": ("dresscode", dict(type="DressCodeDataset", categories=["dresses"])),
    "3D-GCL": ("deepfashion", dict(type="DeepFashionDataset")),
    "pose transfer": ("deepfashion", dict(type="DeepFashionDataset", task="pose_transfer")),
    "MPV": ("mpv", dict(type="MPVDataset")),
    "pair list": (
        "vitonhd",
        dict(type="PairListDataset", pairs="{list}", categories=["upper_body"]),
    ),
}


def write_list(tree: Path, folder: Path) -> str:
    """A table of the user's own."""
    maps = dict(
        person="image/{}.jpg", garment="cloth/{}.jpg", mask="agnostic-mask/{}_mask.png",
        garment_mask="cloth-mask/{}.jpg", pose="image-densepose/{}.jpg",
    )  # fmt: skip
    with open(folder / "mine.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(maps)
        for path in sorted((tree / "train/image").iterdir()):
            writer.writerow(f"train/{place.format(path.stem)}" for place in maps.values())
    return str(folder / "mine.csv")


@pytest.mark.parametrize("name", READERS)
def test_two_steps(name, trees, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    layout, settings = READERS[name]
    config = load_config("configs/coral/dit_tiny_vitonhd.py", dict(data_root=str(trees[layout])))
    if "pairs" in settings:
        settings = dict(settings, pairs=write_list(trees[layout], tmp_path))
    config.train_dataloader.dataset = dict(settings, size=(64, 48), transforms=TRANSFORMS)
    config.train_dataloader.update(batch_size=2, num_workers=0)
    config.train_dataloader.pop("persistent_workers", None)
    categories = ["upper_body", "lower_body", "dresses"]
    config.model.update(size=(64, 48), categories=categories)
    config.model.backbone.update(num_layers=1, num_single_layers=0)
    config.model.attention_losses = {}
    config.test_dataloader = config.test_evaluator = config.test_cfg = None
    config.custom_hooks = []  # a preview wants a test set
    config.train_cfg.max_iters = 2
    config.log_level = "ERROR"
    runner = train(finalize(config, work_dir=str(tmp_path / "run")))
    losses = runner.message_hub.get_scalar("train/loss_diffusion").data[0]
    assert runner.iter == 2 and torch.isfinite(torch.tensor(losses)).all()
    assert runner.train_dataloader.dataset.layout.title
