"""What TensorBoard, W&B, MLflow and the disk are shown while a model learns."""

import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.visualization import Visualizer
from PIL import Image

from vtonlab.engine.hooks import SampleGridHook
from vtonlab.engine.hooks.preview import samples_of
from vtonlab.structures.sample import collate

PROBE = dict(layers=["*"], sigma=0.5)


@pytest.fixture
def services(monkeypatch, make_model) -> dict[str, dict]:
    """W&B and MLflow without their servers: what they were given, by service and name."""
    make_model()  # diffusers looks for the true W&B when it is imported
    MMLogger.get_instance(f"pictures-{time.monotonic_ns()}")  # one whose stream is open: for MLflow
    given = {"wandb": {}, "mlflow": {}}
    wandb, mlflow = ModuleType("wandb"), ModuleType("mlflow")
    wandb.init, wandb.Image = lambda **kwargs: None, np.asarray
    wandb.log = lambda pictures, commit: given["wandb"].update(pictures)
    wandb.join = wandb.finish = lambda *a: None
    mlflow.set_tracking_uri = mlflow.set_experiment = lambda name: None
    mlflow.get_experiment_by_name = lambda name: name
    mlflow.log_image = lambda picture, name: given["mlflow"].update({name: picture})
    mlflow.log_artifact = mlflow.end_run = lambda *a: None
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    return given


def runner_of(model, samples: list[dict], folder: Path, steps: int = 4) -> SimpleNamespace:
    """As much of a runner as the hook asks for, with a real visualiser."""
    kinds = ("LocalVisBackend", "TensorboardVisBackend", "WandbVisBackend", "MLflowVisBackend")
    visualizer = Visualizer(vis_backends=[dict(type=k) for k in kinds], save_dir=str(folder))
    return SimpleNamespace(
        bare_model=model,
        hooks=[],
        visualizer=visualizer,
        iter=0,
        max_iters=steps,
        seed=0,
        cfg=dict(val_dataloader=dict(batch_size=1)),
        build_dataloader=lambda cfg, seed: [collate(samples[: cfg["batch_size"]])],
    )


def test_every_backend_gets_the_same_pictures(make_model, make_sample, services, tmp_path):
    model = make_model(probe=PROBE).train()
    runner = runner_of(model, [make_sample(n) for n in range(3)], tmp_path)
    hook = SampleGridHook(interval=2, samples=3, people=2)
    hook.before_train(runner)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for runner.iter in range(4):
        hook.after_train_iter(runner, runner.iter)
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    local = {p.name: np.asarray(Image.open(p)) for p in tmp_path.rglob("vis_image/*.png")}
    assert sorted(local) == [
        *("samples_2.png", "samples_4.png"),
        *("samples_attention_2.png", "samples_attention_4.png"),
        *("samples_given_0_0.png", "samples_given_1_0.png"),
    ]
    assert local["samples_4.png"].shape == (3 * 32, 4 * 24, 3)
    for name in ("samples", "samples_attention"):
        last = local[f"{name}_4.png"]
        assert np.array_equal(services["wandb"][name], last)
        assert np.array_equal(services["mlflow"][f"{name}/0000004.png"], last)
        assert f"{name}/0000002.png" in services["mlflow"]  # none replaces another
    runner.visualizer.get_backend("TensorboardVisBackend").close()
    given = ["samples_given_0", "samples_given_1"]
    assert tensorboard_tags(tmp_path) == ["samples", "samples_attention", *given]
    assert np.array_equal(services["wandb"]["samples_given_1"], local["samples_given_1_0.png"])


def test_samples_come_back_as_they_were(make_sample):
    samples = [make_sample(n) for n in range(3)]
    for before, after in zip(samples, samples_of(collate(samples), 2), strict=False):
        assert set(after) == set(before)
        for key, value in before.items():
            if isinstance(value, np.ndarray):
                assert np.array_equal(after[key], value), key
            else:
                assert after[key] == value or after[key] is value, key


def tensorboard_tags(folder: Path) -> list[str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = folder.rglob("events.out.*")
    return sorted(EventAccumulator(str(events.parent)).Reload().Tags()["images"])


def test_attention_is_drawn_only_where_it_is_read(make_model, make_sample):
    samples = [make_sample(0)]
    for changes, people in ((dict(), 2), (dict(probe=PROBE), 0)):
        model = make_model(**changes)
        hook = SampleGridHook(interval=1, samples=1, people=people)
        hook._batch = collate(samples)
        runner = SimpleNamespace(bare_model=model, hooks=[])
        assert list(hook._draw(runner)) == ["samples"]
    model = make_model(probe=PROBE)
    hook = SampleGridHook(interval=1, samples=1)
    hook._batch = collate(samples)
    drawn = hook._draw(SimpleNamespace(bare_model=model, hooks=[]))["samples_attention"]
    unsupervised = make_model(probe=PROBE, attention_losses=None)
    wide = hook._draw(SimpleNamespace(bare_model=unsupervised, hooks=[]))["samples_attention"]
    assert wide.shape[1] > drawn.shape[1]  # all three layers, not the two that losses read
