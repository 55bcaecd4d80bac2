"""tools/train.py, tools/test.py and tools/print_config.py: exit codes, sentences, processes."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from ranks import run_alone

ROOT = Path(__file__).parents[2]
TOY = ROOT / "tests" / "test_engine"


@pytest.fixture(scope="module")
def config_file(tmp_path_factory) -> Path:
    """The toy run as a file that a process of its own can read."""
    sys.path.insert(0, str(TOY))
    import toy

    folder = tmp_path_factory.mktemp("configs")
    shutil.copy(ROOT / "configs/_base_/default_runtime.py", folder / "default_runtime.py")
    path = folder / "toy_tool.py"
    text = toy.TEXT.format(base=".default_runtime") + "custom_imports = dict(imports=['toy'])\n"
    path.write_text(text.replace("max_iters=20", "max_iters=6") + "log_level = 'WARNING'\n")
    return path


def call(tool: str, *arguments, capsys, monkeypatch) -> tuple[int, str, str]:
    """Run a tool inside this process, where the imports are paid for; (code, stdout, stderr)."""
    from vtonlab.engine.cli import run_tool

    spec = importlib.util.spec_from_file_location(f"tool_{tool}", ROOT / "tools" / f"{tool}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [f"{tool}.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        run_tool(module.main)
    out = capsys.readouterr()
    return stop.value.code, out.out, out.err


@pytest.fixture
def tool(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda name, *args: call(name, *args, capsys=capsys, monkeypatch=monkeypatch)


def test_a_misspelt_key_is_one_sentence_and_code_two(config_file, tmp_path):
    """As a user runs it: in a process of its own."""
    arguments = [config_file, "--cfg-options", "optim_wraper.optimizer.lr=1"]
    result = run_alone(ROOT / "tools/train.py", arguments, cwd=tmp_path, path=TOY)
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1] == (
        "error: unknown key 'optim_wraper' in --cfg-options: did you mean 'optim_wrapper'?"
    )
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "work_dirs").exists()


@pytest.mark.parametrize(
    ("tool_name", "arguments", "message"),
    [
        ("train", ["no/such.py"], "no config at no/such.py"),
        ("test", ["no/such.py", "x.pth"], "no config at no/such.py"),
        ("print_config", ["no/such.py", "--static"], "no config at no/such.py"),
        ("train", ["CONFIG", "--resume", "no/such.pth"], "no checkpoint at no/such.pth"),
        ("test", ["CONFIG", "no/such.pth"], "no checkpoint at no/such.pth"),
        ("train", ["CONFIG", "--launcher", "pytorch"], "start with `torchrun"),
        ("train", ["CONFIG", "--safe"], "--safe refuses 'custom_imports'"),
        ("test", ["CONFIG", "CONFIG", "--safe"], "--safe refuses 'custom_imports'"),
        ("print_config", ["CONFIG", "--safe"], "--safe refuses 'custom_imports'"),
        ("train", ["CONFIG", "--auto-scale-lr"], "base_batch_size"),
        ("train", ["CONFIG", "--cfg-options", "train_cfg.max_iters=0"], "max_iters must be"),
    ],
)
def test_bad_input_is_one_sentence(tool, config_file, monkeypatch, tool_name, arguments, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    arguments = [str(config_file) if a == "CONFIG" else a for a in arguments]
    code, _, err = tool(tool_name, *arguments)
    assert code == 2
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and message in lines[0]


def test_train_then_test_then_resume(tool, config_file, tmp_path):
    code, _, _ = tool("train", config_file, "--work-dir", "run", "--seed", "3", "--amp")
    assert code == 0
    checkpoint = torch.load(tmp_path / "run/iter_6.pth", weights_only=True)
    assert checkpoint["meta"]["seed"] == 3 and "AutocastOptimWrapper" in checkpoint["meta"]["cfg"]
    assert (tmp_path / "run/model.safetensors").is_file()

    code, out, _ = tool("test", config_file, "run/iter_6.pth", "--out", "tested")
    results = json.loads((tmp_path / "tested/results.json").read_text())
    assert code == 0 and "l1" in out and results["checkpoint"] == "run/iter_6.pth"
    assert results["metrics"]["l1"] > 0 and len(results["sha256"]) == 64

    more = ["--resume", "--seed", "3", "--amp", "--cfg-options", "train_cfg.max_iters=8"]
    assert tool("train", config_file, "--work-dir", "run", *more)[0] == 0
    assert (tmp_path / "run/iter_8.pth").is_file()


def test_dry_run_reports_and_keeps_nothing(tool, config_file, tmp_path):
    code, out, _ = tool("train", config_file, "--dry-run")
    assert code == 0 and "peak" in out and "MiB" in out
    assert list(tmp_path.iterdir()) == []


def test_a_poisoned_run_stops_with_code_one(tool, config_file):
    options = ["train_dataloader.dataset.poison=3", "train_cfg.max_iters=20"]
    code, _, err = tool("train", config_file, "--cfg-options", *options)
    assert code == 1
    assert "training stopped at iteration" in err and "item3" in err


def test_print_config_shows_what_a_run_sees(tool, config_file):
    code, out, _ = tool("print_config", config_file, "--cfg-options", "data_root=some/where")
    assert code == 0
    assert out.count("some/where") == 3  # top level, training and test data
    code, out, _ = tool("print_config", config_file, "--static")
    assert code == 0 and "read_base" in out and "SafeCheckpointHook" in out


@pytest.mark.parametrize(
    ("config", "options", "gpus", "code", "words"),
    [
        ("dit_vitonhd_full", ("--gpus", "8"), 8, 0, "fits in 40.0 GiB"),
        ("dit_vitonhd_full", (), 1, 0, "on N that share parameters: --gpus N"),
        ("dit_vitonhd_attn", ("--gpus", "2"), 2, 0, "each of 2 cards holds all of this"),
    ],
)
def test_the_estimate_is_of_one_of_several_cards(
    config, options, gpus, code, words, capsys, monkeypatch
):
    from vtonlab.engine.memory import estimate as memory

    asked = []

    def estimate(config, device, gpus):
        asked.append(gpus)
        return dict(total=2**30)

    monkeypatch.setattr(memory, "estimate_memory", estimate)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    path = ROOT / f"configs/coral/{config}.py"
    arguments = (path, "--estimate", "40", *options)
    found, out, err = call("train", *arguments, capsys=capsys, monkeypatch=monkeypatch)
    assert (found, asked) == (code, [gpus]), err
    assert words in out
