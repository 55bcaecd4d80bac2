"""Checkpoint files: atomic, verified, never executing anything (R3, R5 to R7, R12, R30)."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
import toy

from vtonlab.engine import build_runner
from vtonlab.engine.checkpoint import (
    find_latest,
    find_problem,
    manifest_path,
    plain,
    read_checkpoint,
    save_checkpoint_file,
    save_file,
    save_safetensors,
    sweep,
)
from vtonlab.engine.training import test as run_test
from vtonlab.engine.training import train

SMALL = {"state_dict": {"w": torch.arange(4000.0)}, "meta": {"iter": 3}}


def test_round_trip_with_manifest(tmp_path):
    manifest = save_checkpoint_file(SMALL, tmp_path / "iter_3.pth")
    assert find_problem(tmp_path / "iter_3.pth") is None
    assert manifest == json.loads(manifest_path(tmp_path / "iter_3.pth").read_text())
    assert (manifest["iter"], manifest["bytes"]) == (3, (tmp_path / "iter_3.pth").stat().st_size)
    assert torch.equal(
        read_checkpoint(tmp_path / "iter_3.pth")["state_dict"]["w"], SMALL["state_dict"]["w"]
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["iter_3.pth", "iter_3.pth.json"]


@pytest.mark.parametrize("place", range(0, 20))
def test_flips_and_cuts_are_found(tmp_path, place):
    path = tmp_path / "iter_1.pth"
    save_checkpoint_file(SMALL, path)
    data = bytearray(path.read_bytes())
    at = place * (len(data) - 1) // 19
    flipped = bytearray(data)
    flipped[at] ^= 1
    path.write_bytes(flipped)
    assert "SHA-256" in find_problem(path)
    path.write_bytes(data[:at])
    assert "bytes where its manifest says" in find_problem(path)
    with pytest.raises(ValueError, match="damaged"):
        read_checkpoint(path)


def test_a_failed_save_leaves_the_old_one(tmp_path):
    path = tmp_path / "iter_1.pth"
    save_checkpoint_file(SMALL, path)

    def fail(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_file(path, fail)
    assert find_problem(path) is None
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(OSError, match=r"needs \d+ bytes and the disk has \d+ free"):
        save_file(path, fail, bytes_needed=10**18)


def test_leftovers_of_killed_runs_are_swept(tmp_path):
    (tmp_path / ".iter_5.pth.tmp-123").write_bytes(b"torn")
    (tmp_path / "iter_4.pth.json").write_text("{}")
    save_checkpoint_file(SMALL, tmp_path / "iter_3.pth")
    sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["iter_3.pth", "iter_3.pth.json"]


def test_a_file_without_manifest_is_not_resumed_from(tmp_path):
    save_checkpoint_file(SMALL, tmp_path / "iter_3.pth")
    torch.save(SMALL, tmp_path / "iter_4.pth")
    assert find_latest(tmp_path, lambda text: None) == tmp_path / "iter_3.pth"


class Malicious:
    """Unpickling it would create a file."""

    def __init__(self, target: str) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_pickled_classes_are_refused_and_not_run(tmp_path):
    path = tmp_path / "evil.pth"
    torch.save({"state_dict": {}, "x": Malicious(str(tmp_path / "ran"))}, path)
    with pytest.raises(ValueError, match=r"holds pickled classes.*mkdir.*pickle_checkpoint\.py"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Malicious(str(tmp_path / "ran"))))
    with pytest.raises(ValueError):
        read_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_mmengine_loads_through_us(tmp_path):
    from mmengine.runner import CheckpointLoader

    path = tmp_path / "evil.pth"
    torch.save({"x": Malicious(str(tmp_path / "ran"))}, path)
    with pytest.raises(ValueError, match="pickled classes"):
        CheckpointLoader.load_checkpoint(str(path))
    assert not (tmp_path / "ran").exists()


def test_plain_keeps_exact_types_only():
    import numpy as np

    value = plain({"a": np.float64(1.5), "b": [1, 2.0, True, None, "x"], 3: (Path("p"),)})
    assert value == {"a": "1.5", "b": [1, 2.0, True, None, "x"], "3": ["p"]}
    assert type(value["b"][1]) is float


def test_safetensors_round_trip_with_shared_memory(tmp_path):
    w = torch.randn(4, 4)
    save_safetensors({"a": w, "b": w, "c": w.t()}, tmp_path / "m.safetensors", {"iter": 3})
    back = read_checkpoint(tmp_path / "m.safetensors")
    assert back["meta"] == {"iter": 3}
    assert all(
        torch.equal(back["state_dict"][k], v) for k, v in {"a": w, "b": w, "c": w.t()}.items()
    )


@pytest.fixture
def trained(toy_config):
    toy_config.custom_hooks = [dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.05)]
    runner = train(toy_config)
    return toy_config, runner, Path(toy_config.work_dir)


def test_a_checkpoint_of_a_run_holds_no_classes_and_the_model_facts(trained):
    folder = trained[2]
    path = folder / "iter_20.pth"
    assert torch.serialization.get_unsafe_globals_in_checkpoint(str(path)) == []
    meta = read_checkpoint(path)["meta"]
    assert meta["facts"] == {"model": "ToyModel", "size": [8, 8], "mask": "1 = generated"}
    assert "ToyModel" in meta["cfg"] and meta["iter"] == 20
    assert find_problem(folder / "model.safetensors") is None


def test_two_are_kept_and_the_export_is_the_average(trained):
    _, runner, folder = trained
    assert sorted(p.name for p in folder.glob("*.pth")) == ["iter_10.pth", "iter_20.pth"]
    checkpoint = read_checkpoint(folder / "iter_20.pth")
    export = read_checkpoint(folder / "model.safetensors")
    assert export["meta"]["averaged"] is True
    assert set(export["state_dict"]) == {
        k for k in checkpoint["state_dict"] if k.startswith("net.")
    }
    raw = runner.bare_model.state_dict()
    for key, value in export["state_dict"].items():
        assert torch.equal(value, checkpoint["state_dict"][key])
        assert not torch.equal(value, raw[key])


@pytest.mark.parametrize("name", ["iter_20.pth", "model.safetensors"])
def test_results_of_pth_and_export_agree(trained, name, tmp_path):
    config, _, folder = trained
    results = run_test(config, str(folder / name), tmp_path / "out")
    saved = json.loads((tmp_path / "out/results.json").read_text())
    assert saved["metrics"] == results["metrics"] and saved["images"] == 7
    averaged = read_checkpoint(folder / "iter_20.pth")["state_dict"]
    model = toy.ToyModel().eval()
    if name.endswith("pth"):
        model.load_state_dict(averaged)
        samples = [toy.ToyDataset(length=7)[(i, i)] for i in range(7)]
        batch = {k: [s[k] for s in samples] for k in ("id", "x", "y")}
        batch.update(x=torch.stack(batch["x"]), y=torch.stack(batch["y"]))
        errors = [sample["error"] for sample in model(**batch)]
        assert results["metrics"]["l1"] == pytest.approx(sum(errors) / 7, rel=1e-6)


def test_another_method_or_size_is_refused(trained):
    config, _, folder = trained
    config.model.size = 12
    config.update(load_from=str(folder / "iter_20.pth"), work_dir=str(folder / "b"))
    with pytest.raises(ValueError, match=r"size=\[8, 8\].*size=\[12, 12\]"):
        build_runner(config).train()


def test_another_shape_is_refused(trained):
    config, _, folder = trained
    config.model.hidden = 5
    config.update(load_from=str(folder / "iter_20.pth"), work_dir=str(folder / "b"))
    with pytest.raises(ValueError, match=r"3 tensors differ in shape.*\(16, 8\).*\(5, 8\)"):
        build_runner(config).train()


@pytest.mark.parametrize("change", ["drop", "rename"])
def test_loading_is_strict(trained, change):
    config, _, folder = trained
    checkpoint = read_checkpoint(folder / "iter_20.pth")
    value = checkpoint["state_dict"].pop("net.0.bias")
    if change == "rename":
        checkpoint["state_dict"]["net.0.bais"] = value
    checkpoint.pop("ema_state_dict")
    save_checkpoint_file(checkpoint, folder / "odd.pth")
    config.update(load_from=str(folder / "odd.pth"), work_dir=str(folder / "b"), custom_hooks=[])
    with pytest.raises(ValueError, match=r"1 keys missing \['net\.0\.bias'\]"):
        build_runner(config).train()


def test_a_config_inside_a_checkpoint_is_not_executed(trained):
    config, _, folder = trained
    checkpoint = read_checkpoint(folder / "iter_10.pth")
    target = folder / "executed"
    checkpoint["meta"]["config"] = f"import os\nos.mkdir({str(target)!r})\ngpu_ids=[0]\n"
    save_checkpoint_file(checkpoint, folder / "iter_15.pth")
    config.update(load_from=str(folder / "iter_15.pth"), resume=True, work_dir=str(folder / "b"))
    build_runner(config).train()
    assert not target.exists()


def test_weights_alone_cannot_be_resumed(trained):
    config, _, folder = trained
    config.update(load_from=str(folder / "model.safetensors"), resume=True)
    config.work_dir = str(folder / "b")
    with pytest.raises(ValueError, match="cannot be resumed"):
        build_runner(config).train()


def test_what_is_frozen_is_neither_saved_nor_missed(toy_config):
    from vtonlab.models.adapters import keep_only_trained

    toy_config.custom_hooks = [dict(type="EMAHook", ema_type="WarmupEMA", momentum=0.05)]
    folder = Path(toy_config.work_dir)

    def runner_of(config):
        runner = build_runner(config)
        runner.model.net[0].requires_grad_(False)
        keep_only_trained(runner.model)
        return runner

    runner = runner_of(toy_config)
    runner.train()
    checkpoint = read_checkpoint(folder / "iter_20.pth")
    trained = {n for n, p in runner.model.named_parameters() if p.requires_grad}
    assert set(checkpoint["state_dict"]) == trained
    assert set(checkpoint["ema_state_dict"]) == {f"module.{n}" for n in trained} | {"steps"}
    raw = runner.model.state_dict()
    name = "net.3.weight"
    assert torch.equal(checkpoint["ema_state_dict"][f"module.{name}"], raw[name])
    assert not torch.equal(checkpoint["state_dict"][name], raw[name])  # it is the average

    toy_config.update(resume=True, load_from=str(folder / "iter_10.pth"))
    toy_config.work_dir = str(folder / "b")
    runner_of(toy_config).train()
    again = read_checkpoint(folder / "b/iter_20.pth")
    for part in ("state_dict", "ema_state_dict"):
        assert all(torch.equal(v, again[part][k]) for k, v in checkpoint[part].items())
