"""What bad input gets: exit code 2 and one sentence, before any training (issue 2).

The tools run inside this process, from an empty folder; two cases run as a user runs them.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from ranks import run_alone
from small_vitonhd import write_matches, write_tree
from test_train import call

ROOT = Path(__file__).parents[2]
FLUX = "configs/coral/dit_vitonhd.py"
TINY = "configs/coral/dit_tiny_vitonhd.py"
SYNTHETIC = "configs/coral/dit_synthetic.py"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """Two people to train on and two to test; each test damages its own copy."""
    return write_tree(tmp_path_factory.mktemp("vitonhd") / "data")


@pytest.fixture
def data(written, tmp_path) -> Path:
    """A copy to damage."""
    import shutil

    return Path(shutil.copytree(written, tmp_path / "data"))


@pytest.fixture
def error(capsys, monkeypatch, tmp_path):
    """``error(tool, config, *arguments)``: the one sentence, after checking that it is one."""
    monkeypatch.chdir(tmp_path)

    def run(tool: str, config: str, *arguments: str) -> str:
        from vtonlab.engine.running.runner import SafeRunner

        def never(self):
            raise AssertionError("training began")

        monkeypatch.setattr(SafeRunner, "train", never)
        code, _, err = call(tool, ROOT / config, *arguments, capsys=capsys, monkeypatch=monkeypatch)
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert code == 2 and len(lines) == 1, err[-2000:]
        return lines[0]  # an exception that run_alone does not know would have come out of `call`

    return run


def as_a_user(folder: Path, *arguments: str) -> str:
    """The same in a process of its own."""
    result = run_alone(ROOT / "tools/train.py", [ROOT / FLUX, *arguments], cwd=folder)
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr[-2000:]
    return result.stderr.strip().splitlines()[-1]


def test_no_data_set(tmp_path):
    """Acceptance 6: where it looked, which layout it expects, and what runs without data."""
    line = as_a_user(tmp_path)
    assert line.startswith("error: ") and str(Path("data/vitonhd")) in line
    for folder in ("image/", "cloth/", "agnostic-mask/", "train"):
        assert folder in line, folder
    assert SYNTHETIC in line


def test_a_misspelt_key(tmp_path):
    line = as_a_user(tmp_path, "--cfg-options", "model.lora.rnk=8")
    assert line == "error: unknown key 'model.lora.rnk' in --cfg-options: did you mean 'rank'?"


@pytest.mark.parametrize(
    ("option", "near"),
    [
        ("modle.size=1", "did you mean 'model'?"),
        ("model.conditioner.pose_panl=False", "did you mean 'pose_panel'?"),
        ("model.attention_losses.entropy.start_itr=3", "did you mean 'start_iter'?"),
        ("train_dataloader.dataset.splt=test", "did you mean 'split'?"),
        ("train_dataloader.dataset.matches.rot=x", "did you mean 'root'?"),
        ("optim_wrapper.optimizer.lrr=1", "did you mean 'lr'?"),
    ],
)
def test_a_misspelt_option(error, option, near):
    line = error("train", FLUX, "--cfg-options", option)
    assert near in line and "--cfg-options" in line


def test_a_misspelt_key_in_the_file(error, tmp_path):
    path = tmp_path / "mine.py"
    text = (ROOT / SYNTHETIC).read_text().replace("num_single_layers", "num_singel_layers")
    base = (ROOT / "configs/_base_/default_runtime.py").read_text()
    (tmp_path / "runtime.py").write_text(base)
    path.write_text(text.replace(".._base_.default_runtime", ".runtime"))
    line = error("train", str(path))
    assert "model.backbone.num_singel_layers" in line and "'num_single_layers'" in line


@pytest.mark.parametrize("config", [FLUX, TINY])
def test_no_matches(error, data, config):
    """The command it names makes them."""
    few = ["held_out=1"] if config == FLUX else []  # of two people
    line = error("train", config, "--cfg-options", f"data_root={data}", *few)
    assert "python tools/extract_matches.py" in line and f"data_root={data}" in line
    assert str(Path("work_dirs/matches")) in line


def test_no_weights(error, data, tmp_path):
    """Data and matches are there; FLUX.1-Fill is not."""
    from vtonlab.engine.config.load import load_config

    matches = load_config(ROOT / FLUX).train_dataloader.dataset.matches.to_dict()
    for split, holdout in (("train", 0), ("val", 1)):
        write_matches({**matches, "root": str(tmp_path / "matches")}, data, split, holdout)
    found = ["--cfg-options", f"data_root={data}", "held_out=1"]
    for loader in ("train_dataloader", "val_dataloader"):
        found += [
            f"{loader}.dataset.matches.root={tmp_path / 'matches'}",
            f"{loader}.num_workers=0",
        ]
    found += ["train_dataloader.persistent_workers=False"]
    line = error("train", FLUX, *found)
    assert "black-forest-labs/FLUX.1-Fill-dev" in line and "hf auth login" in line
    line = error("train", FLUX, *found, f"pretrained={tmp_path / 'nowhere'}")
    assert str(tmp_path / "nowhere") in line


def test_no_data_in_the_folder(error, tmp_path):
    (tmp_path / "empty").mkdir()
    line = error("train", TINY, "--cfg-options", "data_root=empty")
    assert "empty" in line and "image/" in line and SYNTHETIC in line


def options(data: Path) -> list[str]:
    """Options of a training that needs no matches."""
    return ["--cfg-options", f"data_root={data}", "train_dataloader.dataset.matches=None"]


def test_a_truncated_picture(error, data):
    path = sorted((data / "train/image").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-400])
    line = error("train", TINY, *options(data))
    assert str(path) in line and path.stem in line


def test_a_file_that_is_no_picture(error, data):
    path = sorted((data / "train/cloth").iterdir())[0]
    path.write_text("<html>Not found</html>")
    assert str(path) in error("train", TINY, *options(data))


def test_an_inverted_mask(error, data):
    path = sorted((data / "train/agnostic-mask").iterdir())[0]
    picture = 255 - np.asarray(Image.open(path).convert("RGB"))
    full = np.full_like(picture, 255)
    Image.fromarray(full).save(path)
    line = error("train", TINY, *options(data))
    assert str(path) in line and "white must be the area to generate" in line


def test_an_empty_pair_list(error, data):
    (data / "train_pairs.txt").write_text("\n")
    line = error("train", TINY, *options(data))
    assert "train_pairs.txt" in line and "no pairs" in line


@pytest.mark.parametrize("name", ["../../secret.jpg", "/etc/passwd.jpg"])
def test_a_name_outside_the_root(error, data, name):
    text = (data / "train_pairs.txt").read_text()
    (data / "train_pairs.txt").write_text(text + f"{name} {name}\n")
    line = error("train", TINY, *options(data))
    assert "train_pairs.txt, line 3" in line and name in line


def test_a_person_without_mask(error, data):
    path = sorted((data / "train/agnostic-mask").iterdir())[0]
    path.unlink()
    arguments = [*options(data), "train_dataloader.dataset.missing=error"]
    line = error("train", TINY, *arguments)
    assert path.stem.removesuffix("_mask") in line and "missing='skip'" in line


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """Weights of the synthetic config's model, with its facts."""
    import torch

    from vtonlab.engine.config.load import load_config
    from vtonlab.registry import MODELS

    model = MODELS.build(load_config(ROOT / SYNTHETIC).model.to_dict())
    path = tmp_path / "iter_1.pth"
    saved = {"state_dict": model.state_dict(), "meta": {"facts": model.checkpoint_meta()}}
    torch.save(saved, path)
    return path


SMALL = ["test_dataloader.dataset.length=2", "test_dataloader.dataset.cache_dir=None"]


def test_a_checkpoint_of_another_size(error, checkpoint):
    size = ["model.size=[32,24]", "test_dataloader.dataset.size=[32,24]"]
    line = error("test", SYNTHETIC, str(checkpoint), "--cfg-options", *SMALL, *size)
    assert "[64, 48]" in line and "[32, 24]" in line and str(checkpoint) in line


def test_a_checkpoint_of_another_method(error, checkpoint):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        config = "projects/example_project/configs/clean_garment_synthetic.py"
        line = error("test", config, str(checkpoint), "--cfg-options", *SMALL)
    assert "another method or size" in line and "CleanGarmentConditioner" in line


def test_a_checkpoint_that_is_none(error, tmp_path):
    path = tmp_path / "iter_2.pth"
    path.write_bytes(b"not a checkpoint")
    assert str(path) in error("test", SYNTHETIC, str(path), "--cfg-options", *SMALL)
    assert "no.pth" in error("test", SYNTHETIC, "no.pth", "--cfg-options", *SMALL)
