"""Two processes with sharded parameters train the tiny FLUX as one process does."""

import importlib.util
import socket
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from flux_folder import save_tiny_flux
from ranks import run_ranks

from vtonlab.engine.config.load import finalize, load_config
from vtonlab.engine.running.runner import build_runner
from vtonlab.engine.running.training import train
from vtonlab.engine.testing import run as testing

WORKER = Path(__file__).with_name("sharding_worker.py")

pytestmark = pytest.mark.ddp


def load_worker():
    spec = importlib.util.spec_from_file_location("sharding_worker", WORKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


worker = load_worker()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Work directories of one process (``1/whole``) and of two (``2/<case>``)."""
    folder = tmp_path_factory.mktemp("sharding")
    save_tiny_flux(folder / "flux")
    train(worker.case_config("whole", folder, 1))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    run_ranks(WORKER, [[str(rank), "2", port, folder] for rank in range(2)], timeout=570)
    return folder


def read(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def assert_close(one: dict, two: dict) -> None:
    """Weights, averages and moments, of the same names and shapes."""
    for part in ("state_dict", "ema_state_dict"):
        assert one[part].keys() == two[part].keys()
        for name, value in one[part].items():
            torch.testing.assert_close(two[part][name], value, rtol=1e-5, atol=2e-6, msg=name)
    assert one["optimizer"]["state"].keys() == two["optimizer"]["state"].keys()
    for number, moments in one["optimizer"]["state"].items():
        theirs = two["optimizer"]["state"][number]
        largest = float(moments["exp_avg"].abs().max())
        torch.testing.assert_close(
            theirs["exp_avg"], moments["exp_avg"], rtol=1e-4, atol=1e-5 * largest + 1e-9
        )


@pytest.mark.parametrize(
    ("case", "iteration"), [("whole", 2), ("whole", 6), ("recomputed", 2), ("resumed", 6)]
)
def test_gathered_checkpoints_equal_one_process(folder, case, iteration):
    name = f"iter_{iteration}.pth"
    assert_close(read(folder / "1/whole" / name), read(folder / "2" / case / name))


def test_training_moved_every_kind_of_weight(folder):
    """Nothing above compared what never changed; gradients were clipped."""
    before, after = (read(folder / "2/whole" / f"iter_{n}.pth")["state_dict"] for n in (2, 6))
    for name in (
        "backbone.x_embedder.weight",
        "backbone.transformer_blocks.1.attn.to_q.weight",
        "backbone.single_transformer_blocks.0.proj_mlp.weight",
    ):
        assert (after[name] - before[name]).abs().max() > 1e-4, name
    sinks = [name for name in after if name.startswith("attention_losses.flow")]
    assert sinks and all((after[n] - before[n]).abs().max() > 1e-5 for n in sinks)


def test_a_resumed_sharded_run_is_the_uninterrupted_one_to_the_bit(folder):
    whole, resumed = (read(folder / "2" / c / "iter_6.pth") for c in ("whole", "resumed"))
    for part in ("state_dict", "ema_state_dict"):
        for name, value in whole[part].items():
            assert torch.equal(value, resumed[part][name]), name
    for number, moments in whole["optimizer"]["state"].items():
        for key, value in moments.items():
            assert torch.equal(value, resumed["optimizer"]["state"][number][key]), (number, key)


def test_one_process_continues_a_sharded_run(folder):
    from_two = folder / "2/whole/iter_4.pth"
    config = worker.case_config("resumed", folder, 1, resume=from_two)
    train(config)
    assert_close(read(folder / "1/whole/iter_6.pth"), read(folder / "1/resumed/iter_6.pth"))


def test_the_checkpoint_of_two_processes_is_tested_by_one(folder):
    config = worker.case_config("whole", folder, 1)
    facts = testing.test(config, str(folder / "2/whole/iter_6.pth"), folder / "tested")
    assert facts["images"] == 2 and facts["metrics"]["l1_inside"] > 0


def test_gathered_in_bfloat16_shares_stay_float32(folder):
    half, whole = (read(folder / "2" / c / "iter_2.pth")["state_dict"] for c in ("half", "whole"))
    assert {value.dtype for value in half.values()} == {torch.float32}
    name = "backbone.transformer_blocks.1.attn.to_q.weight"
    difference = (half[name] - whole[name]).norm()
    assert 0 < difference < 0.05 * whole[name].norm()


def test_exports_of_a_sharded_run_load_in_plain_diffusers(folder):
    """Averaged weights in several files; a LoRA over a sharded bfloat16 base."""
    from diffusers import FluxPipeline, FluxTransformer2DModel

    export = folder / "2/whole/export/transformer"
    assert len(list(export.glob("*.safetensors"))) > 3
    loaded = FluxTransformer2DModel.from_pretrained(export).state_dict()
    saved = read(folder / "2/whole/iter_6.pth")["state_dict"]  # averaged, as inference uses it
    assert {f"backbone.{name}" for name in loaded} == {k for k in saved if "backbone." in k}
    for name, value in loaded.items():
        torch.testing.assert_close(value, saved[f"backbone.{name}"], msg=name)
    pipeline = FluxPipeline.from_pretrained(folder / "flux")
    pipeline.load_lora_weights(folder / "2/lora/export")
    own = read(folder / "2/lora/iter_2.pth")["state_dict"]
    theirs = {k: v for k, v in pipeline.transformer.state_dict().items() if "lora" in k}
    assert len(theirs) == len(own) and set(own) != set()
    layer = "transformer_blocks.1.attn.to_q.lora_B.{}.weight"
    assert own[f"backbone.{layer.format('default')}"].abs().max() > 0
    (found,) = [v for k, v in theirs.items() if k.startswith(layer.split("{")[0])]
    torch.testing.assert_close(found, own[f"backbone.{layer.format('default')}"])


def test_what_cannot_be_sharded_is_one_sentence(tmp_path):
    path = worker.ROOT / "configs/coral/dit_vitonhd_full.py"
    for options, words in (
        ({"optim_wrapper.dtype": "float16"}, "loss scaler"),
        ({"optim_wrapper.optimizer.type": "AdamW8bit"}, "AdamW8bit cannot be sharded"),
        ({"model.backbone.quantize": dict(load_in_4bit=True)}, "quantised"),
        ({"sharding.blocks": []}, "needs blocks"),
        ({"sharding.param_dtype": "int8"}, "choose 'bfloat16'"),
        ({"optim_wrapper.type": "FiniteOptimWrapper"}, "AutocastOptimWrapper"),
    ):
        config = load_config(path, options)
        if "type" in str(options) and "Finite" in str(options):
            config.optim_wrapper.pop("dtype")
        with pytest.raises(ValueError, match=words):
            build_runner(finalize(config, work_dir=str(tmp_path)))
