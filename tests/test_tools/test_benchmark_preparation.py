"""The benchmark of masks without a parser: its measures, on drawn figures."""

import csv
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PATH = ROOT / "tools" / "benchmark" / "preparation.py"
SPEC = importlib.util.spec_from_file_location("benchmark_preparation", PATH)
benchmark = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(benchmark)
sys.path.append(str(ROOT / "tests" / "test_estimators"))


@pytest.fixture
def vitonhd(tmp_path):
    from estimators_figure import SIZE, photograph

    parse = np.zeros(SIZE, np.uint8)
    parse[29:71, 16:-16], parse[71:, 16:-16] = 5, 9
    parse[8:22, 41:55] = 13
    for name in ("anna", "ben", "cleo"):
        for folder, picture in (("image", photograph()), ("image-parse-v3", parse)):
            path = tmp_path / "train" / folder / f"{name}.{'jpg' if folder == 'image' else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path, quality=95)
    mask = tmp_path / "train/agnostic-mask/anna_mask.png"
    mask.parent.mkdir()
    Image.fromarray(np.full(SIZE, 255, np.uint8)).save(mask)
    return tmp_path


def test_the_table(vitonhd, tmp_path, monkeypatch, capsys):
    from estimators_figure import Middle, Told, figure

    from vtonlab import estimators

    drawn = estimators.Preparation(keypoints=Told(figure()), matte=Middle())
    monkeypatch.setattr(estimators, "Preparation", lambda: drawn)
    out = tmp_path / "table.csv"
    argv = ["preparation.py", "--vitonhd", str(vitonhd), "--out", str(out), "--each"]
    monkeypatch.setattr(sys, "argv", argv)
    assert benchmark.main() == 0
    head, *rows = list(csv.reader(out.open()))
    assert tuple(head) == benchmark.HEAD
    everybody = dict(zip(head, rows[-1], strict=True))
    assert everybody["people"] == "VITON-HD, all" and everybody["of"] == "3"
    assert float(everybody["IoU"]) > 0.8 and everybody["leak above 0.5 %"] == "0"
    assert everybody["face hidden, largest"] == "0.00%"
    assert 0.2 < float(everybody["shipped"]) < 0.9  # that mask is white all over
    halves = sum(int(row[1]) for row in rows[:-1])
    assert halves == 3 and "held out" in capsys.readouterr().out


def test_measures():
    one, two = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    one[:2], two[1:3] = True, True
    assert benchmark.overlap(one, two) == pytest.approx(1 / 3)
    assert benchmark.hidden(one, two) == 0.5 and benchmark.hidden(one, one & ~one) is None
    assert 0.35 < np.mean([benchmark.held_out(f"{i:05d}_00") for i in range(200)]) < 0.65
