"""tools/fuzz_configs.py, short: nonsense in a shipped config is one sentence that names its key."""

import importlib.util
from pathlib import Path

import pytest

from vtonlab.engine import finalize, load_config
from vtonlab.engine.running.training import prepare

ROOT = Path(__file__).parents[2]
CORAL, CATVTON = (
    str(ROOT / f"configs/{n}.py") for n in ("coral/dit_synthetic", "catvton/unet_synthetic")
)

spec = importlib.util.spec_from_file_location("fuzz_configs", ROOT / "tools/fuzz_configs.py")
fuzz_configs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fuzz_configs)


def quiet(config) -> None:
    config.log_level = "ERROR"
    config.visualizer.vis_backends = [dict(type="LocalVisBackend")]
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        config[loader].dataset.cache_dir = None


def test_no_traceback_and_no_hang(tmp_path, capsys):
    found = fuzz_configs.fuzz([CORAL, CATVTON], 24, 3, 60.0, tmp_path, shrink=quiet)
    assert len(found) == 24
    text = fuzz_configs.table(found)
    assert {case["outcome"] for case in found} <= {"refused", "accepted"}, text
    refused = [case for case in found if case["outcome"] == "refused"]
    assert len(refused) > 15
    assert sum(case["named"] for case in refused) >= 0.95 * len(refused), text
    assert "refusals name the key" in text


CASES = {  # what was a traceback, a hang, or accepted
    "a number for a scope": ("default_scope", 0.5, "default_scope.*wanted one of"),
    "a dictionary for a scope": ("default_scope", {"a": 1}, "default_scope.*wanted one of"),
    "a list for a scope": ("default_scope", ["vtonlab"], "default_scope.*wanted one of"),
    "a warm-up from nothing": ("param_scheduler.0.start_factor", 0, r"scheduler\.0\.start_factor"),
    "a text for a loader": ("test_dataloader", "banana", "test_dataloader.*dictionary"),
    "a number for a type": ("model.attention_losses.entropy.type", 3, r"entropy\.type.*registered"),
    "a diffusers module": ("model.backbone.type", "utils", r"model\.backbone\.type.*not reg"),
    "a text for a rate": ("optim_wrapper.optimizer.lr", "abc", r"optimizer\.lr.*number"),
    "None for a number": ("optim_wrapper.optimizer.weight_decay", None, "weight_decay.*number"),
    "an infinite decay": ("optim_wrapper.optimizer.weight_decay", float("inf"), "weight_decay"),
    "a text for a seed": ("randomness.seed", "0", r"randomness\.seed.*whole number"),
    "a negative rate": ("param_scheduler.1.eta_min", -1.0, r"param_scheduler\.1\.eta_min"),
    "a schedule without end": ("param_scheduler.1.end", float("nan"), r"param_scheduler\.1\.end"),
    "an early schedule": ("param_scheduler.0.begin", -1, r"param_scheduler\.0\.begin"),
    "a true text": ("param_scheduler.0.by_epoch", "False", "by_epoch.*True or False"),
    "a way that is never read": ("optim_wrapper.clip_grad.clip_value", 1.0, "clip_value"),
    "a negative interval": ("default_hooks.checkpoint.interval", -1000, r"checkpoint\.interval"),
    "a negative weight": ("model.attention_losses.entropy.weight", -1.0, r"entropy\.weight"),
    "a gate past the end": ("model.attention_losses.entropy.t_max", 2000.0, r"entropy\.t_max"),
    "a billion workers": ("train_dataloader.num_workers", 10**9, "num_workers.*cores"),
    "a billion layers": (
        "model.backbone.num_single_layers",
        10**9,
        r"num_single_layers=1000000000",
    ),
    "a test size": ("test_dataloader.dataset.size", [-64, 48], r"test_dataloader\.dataset\.size"),
    "a test split": ("test_dataloader.dataset.split", ["test"], r"test_dataloader.*split.*text"),
    "a test hardness": ("test_dataloader.dataset.hardness", [0.0, 1e12], "hardness"),
    "a test sampler": ("test_dataloader.sampler.type", None, r"test_dataloader\.sampler\.type"),
    "a misspelt type": ("model.codec.typ", "SpaceToDepthCodec", r"model\.codec\.typ.*type"),
    "a layer that is not there": ("model.probe.layers", ["block.9"], r"model\.probe\.layers.*are"),
    "another test size": ("test_dataloader.dataset.size", (96, 72), "64x48.*96x72.*must agree"),
    "categories": ("model.categories", ["dresses"], r"categories.*upper_body.*dresses"),
    "no category": ("model.categories", [], "model.categories is empty"),
}


@pytest.fixture(scope="module")
def coral():
    config = load_config(CORAL)
    quiet(config)
    return config


@pytest.mark.parametrize("case", CASES)
def test_what_used_to_be_a_traceback(case, coral, tmp_path, monkeypatch):
    monkeypatch.setattr("vtonlab.engine.config.naming.MOST_MODULES", 3000)
    key, value, sentence = CASES[case]
    *parents, last = [int(p) if p.isdigit() else p for p in key.split(".")]
    if last == "typ":
        config = fuzz_configs.changed(coral, (*parents, "type"), fuzz_configs._RENAME)
    else:
        config = fuzz_configs.changed(coral, (*parents, last), value)
    with pytest.raises(ValueError, match=sentence) as error:
        prepare(finalize(config, work_dir=str(tmp_path)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "size", "near"),
    [
        (CORAL, (62, 46), "60x44 and 64x48"),
        (CORAL, (64, 46), "64x44 and 64x48"),
        (CORAL, (63, 48), "64x48"),
        (CATVTON, (62, 46), "60x44 and 64x48"),
        (CATVTON, (64, 46), "64x44 and 64x48"),
        (CATVTON, (63, 48), "64x48"),
    ],
)
def test_sizes_that_fit_are_named(path, size, near, tmp_path):
    config = load_config(path, {"size": size})
    with pytest.raises(ValueError, match=f"size={size[0]}x{size[1]} does not fit.*{near}: set"):
        prepare(finalize(config, work_dir=str(tmp_path)))
