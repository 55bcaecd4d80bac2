"""browse_dataset: a page for each sample, unreadable ones named, bad input in one sentence."""

import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

from vtonlab.synthetic.writer import Settings, write_dataset
from vtonlab.synthetic.writer_layouts import build_layout

TOOL = Path(__file__).parents[2] / "tools" / "analysis" / "browse_dataset.py"
CONFIG = """
train_dataloader = dict(
    batch_size=1,
    dataset=dict(type="SyntheticTryOn", size=(48, 36), length=6, seed=1),
)
test_dataloader = dict(
    batch_size=1,
    dataset=dict(
        type="VITONHDDataset",
        split="test",
        size=None,
        maps=("agnostic", "mask", "garment_mask", "pose", "parse", "keypoints"),
    ),
)
data_root = None
"""


@pytest.fixture
def browse(tmp_path, monkeypatch):
    """Runs the tool in this process on a small config; gives the exit code."""
    path = tmp_path / "small.py"
    path.write_text(CONFIG)

    def run(*options: str) -> int:
        monkeypatch.setattr(sys, "argv", [str(TOOL), str(path), "--height", "64", *options])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(TOOL), run_name="__main__")
        return ended.value.code or 0

    return run


def test_pages_of_spread_samples(browse, tmp_path, capsys):
    out = tmp_path / "pages"
    assert browse("--count", "2", "--out", str(out)) == 0
    assert "2 of 6 samples of SyntheticTryOn" in capsys.readouterr().out
    names = sorted(path.name for path in out.iterdir())
    assert names == ["000000_train_000000.png", "000003_train_000003.png", "overview.png"]
    page = Image.open(out / names[0])
    assert page.size[0] > 5 * 48 and page.size[1] > 3 * 64


def test_a_written_data_set_and_a_damaged_picture(browse, tmp_path, capsys):
    root, out = tmp_path / "data", tmp_path / "pages"
    settings = Settings("vitonhd", 2, (48, 36), split="test")
    write_dataset(build_layout(settings), settings, root)
    (root / "test/image/00001_00.jpg").write_bytes(b"no picture")
    options = ("--loader", "test", "--out", str(out), "--cfg-options", f"data_root={root}")
    assert browse(*options) == 1
    captured = capsys.readouterr()
    assert "sample 1 could not be read" in captured.err and "00001_00.jpg" in captured.err
    assert (out / "000000_00000_00.png").is_file() and "1 of 2 samples" in captured.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--index", "6"), "outside the data set"),
        (("--count", "0"), "--count must be at least 1"),
        (("--height", "8"), "--height"),
        (("--loader", "val"), "no val_dataloader"),
        (("--cfg-options", "train_dataloader.dataset.lenght=3"), "lenght"),
    ],
)
def test_bad_input_is_one_sentence(browse, tmp_path, capsys, options, words):
    assert browse("--out", str(tmp_path / "pages"), *options) == 2
    text = capsys.readouterr().err
    assert words in text and "Traceback" not in text
