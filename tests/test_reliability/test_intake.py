"""Pictures, names and data sets as users have them (R22, R25, R27)."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vtonlab.utils.images import read_image
from vtonlab.utils.paths import resolve_inside

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_vitonhd import write_tree


def test_r22_photographs_and_masks_are_turned_alike(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("L", (40, 30)).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape[:2] == (40, 30)
    assert read_image(tmp_path / "a.png", "grey").shape == (40, 30)


HOSTILE = [
    *("../secret.jpg", "../../etc/passwd", "a/../../b.jpg", "..", "/etc/passwd", "~/x.jpg"),
    *("..\\secret.jpg", "C:\\x.jpg", "//host/share", "a\0.jpg", "link/secret.jpg", ""),
]


def test_r27_twelve_hostile_names_are_refused_and_five_good_ones_are_not(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    refused = 0
    for name in HOSTILE:
        with pytest.raises(ValueError, match="may not be read"):
            resolve_inside(root, name)
        refused += 1
    assert refused == 12
    for name in ("a.jpg", "a/b.jpg", "..a.jpg", "a..b.jpg", "ünï cøde.jpg"):
        assert resolve_inside(root, name).is_relative_to(root.resolve())


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return write_tree(tmp_path_factory.mktemp("vitonhd") / "data")


def first(root: Path, folder: str) -> Path:
    return sorted((root / "train" / folder).iterdir())[0]


def repaint(path: Path, change) -> None:
    Image.fromarray(change(np.array(Image.open(path)))).save(path)


FAULTS = {
    "truncated photograph": ("image", lambda p: p.write_bytes(p.read_bytes()[:-300])),
    "web page for a photograph": ("image", lambda p: p.write_text("<html>quota exceeded</html>")),
    "empty garment": ("cloth", lambda p: p.write_bytes(b"")),
    "missing garment": ("cloth", lambda p: p.unlink()),
    "mask of another shape": (
        "agnostic-mask",
        lambda p: repaint(p, lambda a: np.zeros((30, 90), np.uint8)),
    ),
    "inverted mask": ("agnostic-mask", lambda p: repaint(p, lambda a: np.full_like(a, 255))),
    "empty mask": ("agnostic-mask", lambda p: repaint(p, lambda a: np.zeros_like(a))),
    "grey picture for a mask": (
        "agnostic-mask",
        lambda p: repaint(p, lambda a: np.tile(np.arange(a.shape[1], dtype=np.uint8), (len(a), 1))),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_r25_each_crafted_fault_is_named_before_training(fault, written, tmp_path):
    from vtonlab.datasets import VITONHDDataset

    root = Path(shutil.copytree(written, tmp_path / "data"))
    folder, damage = FAULTS[fault]
    path = first(root, folder)
    damage(path)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        VITONHDDataset(data_root=str(root), split="train", size=(64, 48)).verify()
    assert path.stem.split("_")[0] in str(error.value) and "\n" not in str(error.value)
