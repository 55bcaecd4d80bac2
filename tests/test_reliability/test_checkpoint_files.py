"""Checkpoint files: atomic, verified, strict, never executing anything (R3, R5, R6, R12, R30)."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
import toy

from vtonlab.engine import build_runner
from vtonlab.engine.checkpoints.files import (
    find_latest,
    find_problem,
    manifest_path,
    plain,
    read_checkpoint,
    read_manifests,
    save_checkpoint_file,
    save_file,
    save_safetensors,
    sweep,
)
from vtonlab.engine.hooks import checkpointing
from vtonlab.engine.running.training import train
from vtonlab.engine.testing.run import test as run_test

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


def test_r5_a_full_disk_leaves_the_run_as_it_was(tmp_path):
    """The limit of file sizes stands for the disk, in a process of its own."""
    import resource

    save_checkpoint_file(SMALL, tmp_path / "iter_1.pth")
    pid = os.fork()
    if pid == 0:
        try:
            import signal

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing then fails with EFBIG
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            save_checkpoint_file(SMALL, tmp_path / "iter_2.pth")
        except (OSError, RuntimeError):
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert sorted(p.name for p in tmp_path.iterdir()) == ["iter_1.pth", "iter_1.pth.json"]
    assert find_latest(tmp_path) == tmp_path / "iter_1.pth"


def test_r5_a_disk_too_small_for_one_checkpoint_stops_before_training(toy_config, monkeypatch):
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(checkpointing.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match=r"has 100 bytes free .* one checkpoint .*--work-dir"):
        train(toy_config)


@pytest.mark.parametrize("moment", ["manifest written", "file replaced"])
def test_a_file_is_valid_at_every_moment_of_its_replacement(tmp_path, monkeypatch, moment):
    """As `model.safetensors` of a run that goes on: killed anywhere, old or new is whole."""
    path = tmp_path / "iter_3.pth"
    save_checkpoint_file(SMALL, path)
    replace, calls = os.replace, []

    def stop(source, target):
        calls.append(str(target))
        if len(calls) == (2 if moment == "manifest written" else 3):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint_file({**SMALL, "new": torch.ones(3)}, path)
    assert find_problem(path) is None
    assert ("new" in read_checkpoint(path)) == (moment == "file replaced")
    assert len(read_manifests(path)) == 2
    monkeypatch.undo()
    save_checkpoint_file(SMALL, path)
    assert find_problem(path) is None and len(read_manifests(path)) == 1


class Scores:
    """A metric that says what the test wants, in turn."""

    def __init__(self, values: list[float]) -> None:
        self.values = iter(values)

    def __call__(self, metric, results) -> dict:
        return {"l1": next(self.values)}


def best_of(config, scores: list[float], monkeypatch) -> Path:
    monkeypatch.setattr(toy.ToyMetric, "compute_metrics", lambda *a: Scores.__call__(found, *a))
    found = Scores(scores)
    config.update(val_dataloader=config.test_dataloader, val_cfg=dict())
    config.val_evaluator = dict(type="ToyMetric")
    config.train_cfg.val_interval = 5
    config.default_hooks.checkpoint.update(save_best="l1", rule="less")
    train(config)
    return Path(config.work_dir)


def test_the_best_is_kept_until_the_next_is_whole(toy_config, monkeypatch):
    removed = []
    original = checkpointing.remove_checkpoint
    monkeypatch.setattr(
        checkpointing,
        "remove_checkpoint",
        lambda path: (
            removed.append((Path(path).name, find_problem(folder / "best_l1_iter_15.pth"))),
            original(path),
        ),
    )
    folder = Path(toy_config.work_dir)
    best_of(toy_config, [3.0, float("nan"), 2.0, 4.0], monkeypatch)
    assert ("best_l1_iter_5.pth", None) in removed  # the new one was whole by then
    assert [p.name for p in folder.glob("best*.pth")] == ["best_l1_iter_15.pth"]
    assert json.loads((folder / "best.json").read_text())["score"] == 2.0
    toy_config.train_cfg.max_iters = 30
    toy_config.resume = True
    best_of(toy_config, [4.0, 2.5, 1.0], monkeypatch)  # 20 again, 25, 30
    assert [p.name for p in folder.glob("best*.pth")] == ["best_l1_iter_30.pth"]


def test_a_metric_that_is_not_there_is_named(toy_config, monkeypatch):
    toy_config.default_hooks.checkpoint.update(save_best="l2", rule="less")
    toy_config.update(val_dataloader=toy_config.test_dataloader, val_cfg=dict())
    toy_config.val_evaluator = dict(type="ToyMetric")
    with pytest.raises(ValueError, match=r"save_best='l2' is no metric.*l1"):
        train(toy_config)


def test_r12_what_may_differ_is_named_and_counted(trained):
    config, _, folder = trained
    checkpoint = read_checkpoint(folder / "iter_20.pth")
    del checkpoint["state_dict"]["net.0.bias"], checkpoint["ema_state_dict"]
    checkpoint["state_dict"]["old.weight"] = torch.ones(1)
    save_checkpoint_file(checkpoint, folder / "odd.pth")
    config.update(load_from=str(folder / "odd.pth"), work_dir=str(folder / "b"), custom_hooks=[])
    config.partial_load = ["net.0.", "old."]
    runner = build_runner(config)
    seen = []
    runner.logger.warning = lambda text, *a, **k: seen.append(str(text))
    runner.train()
    assert "partial_load: 1 tensors missing: ['net.0.bias']" in seen
    assert "partial_load: 1 tensors unused: ['old.weight']" in seen
