"""tools/make_shards.py, and training from what it writes: the same weights as from files."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from small_vitonhd import write_matches, write_tree
from test_train import call

ROOT = Path(__file__).parents[2]
TINY = ROOT / "configs/coral/dit_tiny_vitonhd.py"
SMALL = {
    "train_dataloader.batch_size": 2,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "train_cfg.max_iters": 2,
    "default_hooks.checkpoint.interval": 2,
    "log_level": "ERROR",
}


@pytest.fixture
def data(tmp_path, monkeypatch) -> tuple[Path, dict]:
    """Four people at the config's size with its matches, and the options of a short run."""
    from vtonlab.engine.config.load import load_config

    monkeypatch.chdir(tmp_path)
    root = write_tree(tmp_path / "data", 6, (128, 96))
    write_matches(load_config(TINY).train_dataloader.dataset.matches.to_dict(), root)
    return root, {"data_root": str(root), **SMALL}


def trained(options: dict, work_dir: Path, **dataset) -> dict:
    """Weights after two steps."""
    from vtonlab.engine.config.load import finalize, load_config
    from vtonlab.engine.running.training import train

    config = load_config(TINY, options)
    if dataset:
        old = config.train_dataloader.dataset
        kept = {k: old[k] for k in ("split", "size", "maps", "matches", "transforms") if k in old}
        config.train_dataloader.dataset = dict(kept, **dataset)
    train(finalize(config, work_dir=str(work_dir)))
    checkpoint = torch.load(work_dir / "iter_2.pth", weights_only=True)
    return checkpoint["state_dict"]


def test_training_from_shards_is_training_from_files(data, tmp_path, capsys, monkeypatch):
    root, options = data
    arguments = ("--out", "shards", "--shard-size", "0.05", "--cfg-options", f"data_root={root}")
    code, out, _ = call("make_shards", TINY, *arguments, capsys=capsys, monkeypatch=monkeypatch)
    assert code == 0 and "4 samples in" in out
    assert len(list((tmp_path / "shards/train").glob("*.tar"))) > 1
    files = trained(options, tmp_path / "a")
    shards = trained(options, tmp_path / "b", type="ShardDataset", data_root="shards")
    assert files.keys() == shards.keys()
    assert all(torch.equal(files[name], shards[name]) for name in files)


def test_what_is_damaged_is_left_out_and_said(data, tmp_path, capsys, monkeypatch):
    root, _ = data
    path = sorted((root / "train/cloth").iterdir())[1]
    path.write_bytes(path.read_bytes()[:-200])
    options = ("--cfg-options", f"data_root={root}", "train_dataloader.dataset.matches=None")

    def run(*arguments):
        return call(
            "make_shards",
            *(TINY, "--out", "shards", *arguments, *options),
            capsys=capsys,
            monkeypatch=monkeypatch,
        )

    code, _, err = run()
    assert code == 2 and str(path) in err and "truncated" in err
    code, out, _ = run("--damaged", "skip")
    assert code == 1 and "3 samples in" in out and f"left out: {path} is truncated" in out
