"""Both stages end to end on written photographs, and a second stage that is killed and resumed."""

import copy
import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vtonlab.engine.checkpoints.files import read_checkpoint
from vtonlab.engine.checkpoints.trained_parts import load_part
from vtonlab.engine.config.load import finalize, load_config
from vtonlab.engine.running.training import train
from vtonlab.registry import MODELS

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests"), str(ROOT / "tools")]
from reliability.compare import differing  # noqa: E402
from small_data import without_validation  # noqa: E402
from small_synthesis import WARPING, settings  # noqa: E402

SIZE = (32, 32)
SMALL = {key: WARPING[key] for key in ("network", "refinement")} | dict(size=SIZE)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Bits depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tool(name: str, *arguments: str) -> int:
    """The exit code of ``tools/NAME.py``, run here."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / f"tools/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        return module.main() or 0


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """Ten pairs in the layout of DeepFashion, a fifth of them for testing."""
    root = tmp_path_factory.mktemp("data") / "deepfashion"
    size = f"{SIZE[0]}x{SIZE[1]}"
    assert tool("make_synthetic", *f"--layout deepfashion --out {root} --count 10".split(),
                "--size", size) == 0  # fmt: skip
    return root


def shrink(config, root: Path, work_dir: Path):
    """A published config with small networks, on these photographs."""
    config.data_root, config.log_level = str(root), "ERROR"
    config.train_cfg.max_iters = 2
    config.visualizer.vis_backends = [dict(type="LocalVisBackend")]
    config = without_validation(config)
    for loader in (config.train_dataloader, config.test_dataloader):
        loader.update(batch_size=2, num_workers=0)
        loader.pop("persistent_workers", None)
        loader.dataset.update(size=SIZE, categories=None)
        for transform in loader.dataset.get("transforms") or []:
            names = dict(faces="smpl_faces", mirror="vertices_symm_idxs")
            files = {key: str(root / f"smpl/{name}.npy") for key, name in names.items()}
            transform.matcher.update(files)
    config.model.update(categories=["upper_body", "lower_body", "dresses"])
    config.model.image_losses = dict(l1=dict(type="L1Loss"))  # no VGG weights here
    config.work_dir = str(work_dir)
    return config


def warp_config(root: Path, folder: Path):
    config = load_config(ROOT / "configs/gcl3d/warp_deepfashion.py")
    config.model.update(copy.deepcopy(SMALL))
    return shrink(config, root, folder / "warp")


def tryon_config(root: Path, folder: Path):
    config = load_config(ROOT / "configs/gcl3d/tryon_deepfashion.py")
    config.model.update(size=SIZE, generator=settings()["generator"])
    config.model.discriminator = settings()["discriminator"] | dict(size=SIZE)
    config.model.warping.update(
        copy.deepcopy(SMALL), categories=["upper_body", "lower_body", "dresses"]
    )
    config.load_parts = dict(warping=str(folder / "warp/model.safetensors"))
    return shrink(config, root, folder / "tryon")


@pytest.fixture(scope="module")
def stages(photographs, tmp_path_factory) -> Path:
    """A folder with both stages, trained for two steps each."""
    folder = tmp_path_factory.mktemp("runs")
    for make in (warp_config, tryon_config):
        config = make(photographs, folder)
        train(finalize(config, work_dir=config.work_dir))
    return folder


def test_the_second_stage_has_the_warping_of_the_first(stages):
    first = read_checkpoint(stages / "warp/model.safetensors")["state_dict"]
    second = read_checkpoint(stages / "tryon/iter_2.pth")
    held = {k: v for k, v in second["state_dict"].items() if k.startswith("warping.")}
    assert held and {k.removeprefix("warping.") for k in held} == set(first)
    assert all(torch.equal(value, first[k.removeprefix("warping.")]) for k, value in held.items())
    assert set(second["optimizer"]) == {"generator", "discriminator"}
    exported = read_checkpoint(stages / "tryon/model.safetensors")["state_dict"]
    assert {k.split(".")[0] for k in exported} == {"warping", "generator"}
    averaged = second["state_dict"]["generator.synthesis.first.bias"]
    assert torch.equal(exported["generator.synthesis.first.bias"], averaged)
    assert not torch.equal(
        second["ema_state_dict"]["module.generator.synthesis.first.bias"], averaged
    )


def test_the_tool_tests_the_first_stage(stages, photographs, tmp_path):
    warp_config(photographs, stages).dump(tmp_path / "small.py")
    out = tmp_path / "out"
    code = tool("test", tmp_path / "small.py", stages / "warp/model.safetensors", "--out", out)
    assert code == 0
    results = json.loads((out / "results.json").read_text())
    assert {"warp_miou", "end_point_error"} <= set(results["metrics"])
    assert len(list((out / "pictures").glob("*.png"))) == results["images"] > 1


def test_the_tool_tests_the_second_stage(stages, photographs, tmp_path):
    config = tryon_config(photographs, stages)
    config.load_parts = dict(warping="no such file: a checkpoint has its warping")
    config.dump(tmp_path / "small.py")
    out = tmp_path / "out"
    code = tool("test", tmp_path / "small.py", stages / "tryon/model.safetensors", "--out", out)
    assert code == 0
    results = json.loads((out / "results.json").read_text())
    assert {"warp_miou", "ssim"} <= set(results["metrics"])
    pictures = sorted((out / "pictures").glob("*.png"))
    assert len(pictures) == results["images"] > 1
    assert np.asarray(Image.open(pictures[0])).shape == (*SIZE, 3)
    assert tool("report", out, "--out", tmp_path / "report.html") == 0


def test_a_second_stage_without_a_first(stages, photographs, tmp_path, monkeypatch):
    config = finalize(tryon_config(photographs, tmp_path), work_dir=str(tmp_path / "run"))
    with pytest.raises(
        FileNotFoundError, match=r"load_parts\.warping: no checkpoint at .*train it"
    ):
        train(copy.deepcopy(config))
    first, second = (stages / f"{name}/model.safetensors" for name in ("warp", "tryon"))
    built = MODELS.build(config.model.to_dict())
    config.model.warping.refinement.update(hidden=4)
    another = MODELS.build(config.model.to_dict())
    for model, part, file, sentence in (
        (built, "warping", second, r"of another method or size.*'TryOnSynthesis'"),
        (built, "generator", second, "this part trains here"),
        (built, "warp", "x", r"TryOnSynthesis has no such part; it has .*warping"),
        (another, "warping", first, r"tensors differ, the first is .* in the model"),
    ):
        with pytest.raises(ValueError, match=sentence):
            load_part(model, part, str(file), other_size=False)
    said = []
    monkeypatch.setattr(
        logging.Logger, "warning", lambda self, text, *a, **k: said.append(str(text))
    )
    config.load_parts = None
    train(config)
    assert any("warping has random weights" in text for text in said)


@pytest.mark.slow
def test_killed_and_resumed_no_bit_differs(stages, photographs, tmp_path):
    """SIGKILL after the checkpoint of iteration 20: R1 is due at 16 and 32, of 34."""
    config = tryon_config(photographs, stages)
    config.train_cfg.max_iters = 34
    config.default_hooks.checkpoint.update(interval=5, max_keep_ckpts=-1)
    path = tmp_path / "small.py"
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    config.work_dir = str(calm)
    config.dump(path)
    run(path, calm)
    process = start(path, killed)
    while process.poll() is None and not (killed / "iter_20.pth.json").is_file():
        pass
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "iter_34.pth").exists()
    run(path, killed)
    first, second = (read_checkpoint(folder / "iter_34.pth") for folder in (calm, killed))
    assert differing(first, second) == []
    assert any(name.startswith("module.generator.") for name in first["ema_state_dict"])
    steps = [state["state"][0]["step"] for state in first["optimizer"].values()]
    assert [int(step) for step in steps] == [34, 34]


def start(config: Path, work_dir: Path) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "tools/train.py"), str(config), "--resume"]
    command += ["--work-dir", str(work_dir)]
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def run(config: Path, work_dir: Path) -> None:
    process = start(config, work_dir)
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()[-2000:]
