"""Several processes, and what one process does as if it were several (R11, R32, R33, R34)."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
import toy
from reliability.compare import differing

from vtonlab.datasets import EvalSampler, ResumableSampler
from vtonlab.engine.checkpoints.files import read_checkpoint

ROOT = Path(__file__).parents[2]
TOY = ROOT / "tests/test_engine"
RANK_INFO = "vtonlab.datasets.samplers.get_dist_info"


def drawn(world: int, batches: int, batch_size: int, skip: int = 0) -> list[list[int]]:
    """Global batches of samples' positions and items as ``world`` ranks draw them."""
    ranks = []
    for rank in range(world):
        with mock.patch(RANK_INFO, lambda rank=rank: (rank, world)):
            sampler = ResumableSampler(range(13), seed=4)
            sampler.skip(skip * batch_size)
            keys = iter(sampler)
        ranks.append([next(keys) for _ in range(batches * batch_size)])
    return [
        sorted(k for keys in ranks for k in keys[b * batch_size : (b + 1) * batch_size])
        for b in range(batches)
    ]


def test_r11_the_order_does_not_depend_on_the_number_of_ranks():
    single = drawn(1, 9, 4)
    assert drawn(2, 9, 2) == drawn(4, 9, 1) == single
    assert drawn(2, 4, 2, skip=5) == single[5:]  # saved by one process, resumed by two


def test_r32_unequal_shares_are_filled_up_and_every_sample_is_there():
    shares = []
    for rank in range(2):
        with mock.patch(RANK_INFO, lambda rank=rank: (rank, 2)):
            shares.append([key.index for key in EvalSampler(range(7))])
    assert len(shares[0]) == len(shares[1]) == 4
    together = [i for pair in zip(*shares, strict=True) for i in pair]
    assert together[:7] == list(range(7))  # mmengine's collect_results cuts to the size


def test_r33_a_batch_without_matches_gives_every_parameter_a_gradient(tmp_path):
    from reliability.runs import small_config

    from vtonlab.engine.running.runner import build_runner
    from vtonlab.structures import Correspondences

    runner = build_runner(small_config(tmp_path / "run", tmp_path))
    batch = next(iter(runner.build_dataloader(runner._train_dataloader, seed=0)))
    batch["correspondences"] = [Correspondences.empty() for _ in batch["id"]]
    model = runner.bare_model
    losses = model(**model.data_preprocessor(batch, True), mode="loss")
    sum(value for name, value in losses.items() if name.startswith("loss")).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


@pytest.fixture(scope="module")
def config_file(tmp_path_factory, toy_config_file) -> Path:
    """The toy run as a file that processes of their own can read; no dropout, no step noise."""
    path = toy_config_file.parent / "toy_ranks.py"
    text = toy_config_file.read_text() + "custom_imports = dict(imports=['toy'])\n"
    text += "model = dict(type='ToyModel', drop=0.0, step_noise=0.0)\nlog_level = 'WARNING'\n"
    path.write_text(text.replace("max_iters=20", "max_iters=6"))
    return path


def environment(**more: str) -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT), str(TOY), os.environ.get("PYTHONPATH", "")])
    return dict(os.environ, PYTHONPATH=paths, CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1", **more)


def train_command(config: Path, work_dir: str, *options: str, launcher: str = "none") -> list[str]:
    command = [str(ROOT / "tools/train.py"), str(config), "--work-dir", work_dir]
    command += ["--launcher", launcher]
    return command + (["--cfg-options", *options] if options else [])


def assert_same_run(one: Path, two: Path) -> None:
    a, b = (torch.load(folder / "iter_6.pth", weights_only=True) for folder in (one, two))
    assert a["meta"]["samples_per_iter"] == b["meta"]["samples_per_iter"] == 4
    for key, value in a["state_dict"].items():
        torch.testing.assert_close(b["state_dict"][key], value, rtol=1e-5, atol=1e-6)
    for key, state in a["optimizer"]["state"].items():
        theirs = b["optimizer"]["state"][key]["exp_avg"]
        torch.testing.assert_close(theirs, state["exp_avg"], rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def one_process(config_file, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    command = [sys.executable, *train_command(config_file, str(folder))]
    result = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    return folder


@pytest.mark.ddp
@pytest.mark.slow
def test_r34_two_processes_equal_one(config_file, one_process, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2"]
    command += train_command(
        config_file, "two", "train_dataloader.batch_size=2", launcher="pytorch"
    )
    result = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert_same_run(one_process, tmp_path / "two")


@pytest.mark.ddp
@pytest.mark.slow
def test_r34_slurm_s_variables_start_two_processes(config_file, one_process, tmp_path):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [
        sys.executable,
        *train_command(config_file, "two", "train_dataloader.batch_size=2", launcher="slurm"),
    ]
    tasks = [
        subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment(
                SLURM_PROCID=str(rank),
                SLURM_NTASKS="2",
                SLURM_LOCALID=str(rank),
                SLURM_LAUNCH_NODE_IPADDR="127.0.0.1",
                MASTER_PORT=port,
            ),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for task in tasks:
        assert task.wait(300) == 0, task.stderr.read()[-2000:]
    assert_same_run(one_process, tmp_path / "two")


@pytest.mark.ddp
@pytest.mark.slow
def test_r34_two_optimizers_train_on_two_processes(config_file, tmp_path):
    """Each part of the model is distributed on its own, and a resume is exact."""
    path = config_file.parent / "toy_two.py"
    path.write_text(
        config_file.read_text()
        + "model = dict(type='ToyAdversary', drop=0.0)\n"
        + f"optim_wrapper = {toy.TWO_OPTIMIZERS!r}\nparam_scheduler = None\n"
        + "model_wrapper_cfg = dict(type='MMSeparateDistributedDataParallel')\n"
        + "custom_hooks = [dict(type='EMAHook', ema_type='WarmupEMA', momentum=0.05)]\n"
        + "default_hooks.checkpoint.interval = 3\n"
        + "del test_dataloader, test_cfg, test_evaluator\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", *train_command(path, "two", launcher="pytorch")]
    for again in (False, True):
        if again:  # from the middle
            first = tmp_path / "two/iter_6.pth"
            whole = read_checkpoint(first)
            first.unlink()
            command.insert(command.index("--launcher"), "--resume")
        result = subprocess.run(
            command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300
        )
        assert result.returncode == 0, result.stderr[-2000:]
    resumed = read_checkpoint(tmp_path / "two/iter_6.pth")
    assert set(resumed["optimizer"]) == {"generator", "discriminator"}
    assert differing(whole, resumed) == []
    names = set(toy.ToyAdversary().state_dict())
    assert set(resumed["state_dict"]) == names  # as one process would save them
    assert set(resumed["ema_state_dict"]) == {f"module.{n}" for n in names} | {"steps"}
