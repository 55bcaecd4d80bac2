"""A tiny model, data set and config that behave like the real ones and build in milliseconds."""

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset

from vtonlab.registry import DATASETS, METRICS, MODELS


@DATASETS.register_module(force=True)
class ToyDataset(Dataset):
    """Pairs of an 8-vector and its sum, with noise keyed by position; takes (index, position)."""

    def __init__(
        self, *, length: int = 30, data_root: str | None = None, seed: int = 7, poison: int = -1
    ) -> None:
        self.length, self.data_root, self.seed, self.poison = length, data_root, seed, poison
        self.decoded = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key) -> dict:
        index, position = key
        self.decoded += 1
        x = torch.randn(8, generator=torch.Generator().manual_seed(index))
        noise = np.random.default_rng([self.seed, position]).standard_normal(8)
        x = x + 0.1 * torch.from_numpy(noise).float()
        if index == self.poison:
            x = x * float("nan")
        return {"id": f"item{index}", "x": x, "y": x.sum()[None]}


@MODELS.register_module(force=True)
class ToyModel(BaseModel):
    """Two layers with dropout and step noise, as a diffusion model has."""

    def __init__(
        self, *, hidden: int = 16, size: int = 8, drop: float = 0.1, step_noise: float = 0.05
    ) -> None:
        super().__init__()
        self.size, self.step_noise = size, step_noise
        self.net = nn.Sequential(
            nn.Linear(8, hidden), nn.ReLU(), nn.Dropout(drop), nn.Linear(hidden, 1)
        )
        self.attention_loss = nn.Linear(1, 1)
        self.seen: list[str] = []
        self.steps: list[int] = []

    train_only_prefixes = ("attention_loss.",)

    def checkpoint_meta(self) -> dict:
        return {"size": [self.size, self.size], "mask": "1 = generated"}

    def preview(self, batch: dict) -> np.ndarray:
        return np.full((6, 6 * len(batch["id"]), 3), 128, dtype=np.uint8)

    def forward(self, id, x, y, mode="tensor", step=None):
        if mode == "loss":
            self.seen += list(id)
            self.steps.append(step)
            x = x + self.step_noise * torch.randn_like(x)
        out = self.attention_loss(self.net(x))
        if mode == "loss":
            return {"loss_a": (out - y).pow(2).mean(), "loss_b": 0.1 * out.abs().mean()}
        return [{"error": float(e)} for e in (out - y).abs()]


@MODELS.register_module(force=True)
class ToyAdversary(BaseModel):
    """A generator and a discriminator with an optimiser each, as adversarial training has."""

    def __init__(self, *, drop: float = 0.1, hidden: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Linear(8, 8)
        self.generator = nn.Sequential(nn.Linear(8, hidden), nn.Dropout(drop), nn.Linear(hidden, 8))
        self.discriminator = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, id, x, y, mode="tensor", step=None):
        raise NotImplementedError("trained by train_step")

    def fake(self, x):
        return self.generator(self.embedding(x) + 0.1 * torch.randn_like(x))

    def train_step(self, data, optim_wrapper):
        x = self.data_preprocessor(data, True)["x"]
        judge = optim_wrapper["discriminator"]
        with judge.optim_context(self):
            fake = self.fake(x).detach()
            d_loss = nn.functional.softplus(self.discriminator(fake).float()).mean()
            d_loss = d_loss + nn.functional.softplus(-self.discriminator(x).float()).mean()
        judge.update_params(d_loss)
        self.discriminator.requires_grad_(False)
        maker = optim_wrapper["generator"]
        with maker.optim_context(self):
            g_loss = nn.functional.softplus(-self.discriminator(self.fake(x)).float()).mean()
        maker.update_params(g_loss)
        self.discriminator.requires_grad_(True)
        return {"loss_d": d_loss.detach(), "loss_g": g_loss.detach()}


TWO_OPTIMIZERS = dict(
    constructor="MultiOptimWrapperConstructor",
    generator=dict(
        type="FiniteOptimWrapper",
        modules=["embedding", "generator"],
        optimizer=dict(type="Adam", lr=1e-3, betas=(0.0, 0.99)),
        clip_grad=dict(max_norm=1.0),
    ),
    discriminator=dict(type="FiniteOptimWrapper", optimizer=dict(type="Adam", lr=2e-3)),
)


@METRICS.register_module(force=True)
class ToyMetric(BaseMetric):
    """Mean absolute error."""

    def __init__(self, *, prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)

    def process(self, data_batch, data_samples) -> None:
        self.results += [sample["error"] for sample in data_samples]

    def compute_metrics(self, results: list) -> dict:
        return {"l1": float(np.mean(results))}


TEXT = """
from mmengine.config import read_base
with read_base():
    from {base} import *
model = dict(type="ToyModel")
train_dataloader = dict(
    dataset=dict(type="ToyDataset"),
    sampler=dict(type="ResumableSampler"),
    collate_fn=dict(type="default_collate"),
    batch_size=4,
    num_workers=0,
)
train_cfg = dict(type="ResumableTrainLoop", max_iters=20)
test_dataloader = dict(
    dataset=dict(type="ToyDataset", length=7),
    sampler=dict(type="EvalSampler"),
    collate_fn=dict(type="default_collate"),
    batch_size=4,
)
test_cfg = dict()
test_evaluator = dict(type="ToyMetric")
optim_wrapper = dict(type="FiniteOptimWrapper", optimizer=dict(type="AdamW", lr=1e-3))
param_scheduler = [dict(type="CosineAnnealingLR", by_epoch=False, T_max=100)]
default_hooks.checkpoint.interval = 10
default_hooks.logger.interval = 5
"""
