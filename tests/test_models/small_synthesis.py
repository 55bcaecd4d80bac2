"""A second stage of a few thousand parameters, and batches for it."""

import importlib.util
from pathlib import Path

import torch

from vtonlab.engine.running.optimizers import MultiOptimWrapperConstructor
from vtonlab.models import TryOnSynthesis
from vtonlab.structures.sample import collate

SIZE = (32, 24)
WARPING = dict(
    type="TryOnWarping",
    size=SIZE,
    network=dict(type="CorrespondenceNetwork", widths=(8, 8, 8), dim=8, stem_stride=1),
    refinement=dict(type="FlowRefinement", dim=8, hidden=8, motion=8),
)
ADAM = dict(type="Adam", lr=2e-3, betas=(0.5, 0.999))
OPTIMISERS = dict(generator=dict(optimizer=ADAM), discriminator=dict(optimizer=ADAM))


def make(**changes) -> TryOnSynthesis:
    """The model, seeded; noise matters from the start."""
    torch.manual_seed(0)
    model = TryOnSynthesis(**(settings() | changes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.1)
    return model


def settings() -> dict:
    """Its arguments, fresh."""
    return dict(
        size=SIZE,
        warping=dict(WARPING),
        generator=dict(
            type="SpatialStyleGenerator",
            channels=(4, 6, 8),
            retained_channels=4,
            fused_channels=6,
            style_hidden=4,
        ),
        discriminator=dict(
            type="ResidualDiscriminator", size=SIZE, channels=(4, 6, 8), stddev_group=2
        ),
        adversarial=dict(type="NonSaturatingLoss"),
        image_losses=dict(l1=dict(type="L1Loss")),
    )


def batch(numbers=(0, 1), **changes) -> dict:
    """Collated samples of noise, not preprocessed; ``changes``: key -> function of the sample."""
    path = Path(__file__).with_name("conftest.py")
    spec = importlib.util.spec_from_file_location("small_samples", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    samples = [module.sample(number) for number in numbers]
    samples = [s | {key: change(s) for key, change in changes.items()} for s in samples]
    return collate(samples) | {"step": 0}


def wrappers(model: TryOnSynthesis):
    """Its two optimisers."""
    return MultiOptimWrapperConstructor(OPTIMISERS)(model)
