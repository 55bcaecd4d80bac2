"""Photographs alone, with a shipped model: README's example and the command."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vtonlab.apis import list_models, prepare
from vtonlab.estimators import PreparationError

ROOT = Path(__file__).parents[2]
MODEL = "coral_unet_synthetic"


@pytest.fixture
def photographs(real_data, estimator_weights, tmp_path, monkeypatch):
    """Two people and a garment in the current folder."""
    people = sorted((real_data / "vitonhd_mini/test/image").glob("*.jpg"))
    garment = sorted((real_data / "vitonhd_mini/test/cloth").glob("*.jpg"))[1]
    for file, name in zip((*people[:2], garment), ("anna", "ben", "shirt"), strict=True):
        shutil.copy(file, tmp_path / f"{name}.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_example_of_the_readme(photographs, capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [example] = re.findall(
        r"```python\n(from vtonlab\.apis import TryOnInferencer.*?)```", text, re.DOTALL
    )
    assert len([line for line in example.splitlines() if line]) <= 12
    exec(compile(example, "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert MODEL in said and "anna" in said and "ben" in said
    assert Image.open("anna_in_shirt.png").size[1] > 32


def test_the_command(photographs, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT))
    from tools import try_on

    argv = ["--person", "anna.jpg", "shirt.jpg", "--garment", "shirt.jpg", "--out", "out"]
    assert try_on.main([*argv, "--num-steps", "1"]) == 1  # a shirt is no person
    said, aside = capsys.readouterr()
    assert f"with {MODEL}, the toy that ships" in aside
    assert "refused: shirt.jpg" in said and "1 of 2 pairs are in out" in said
    assert sorted(p.name for p in Path("out/masks").iterdir()) == ["anna__shirt.png"]
    with pytest.raises(ValueError, match="either --model NAME or FOLDER, or --config"):
        try_on.main([*argv, "--model", MODEL, "--config", "x.py"])


def test_the_command_with_own_estimators(photographs, monkeypatch, capsys):
    """A folder of parses decides the mask, and what was drawn otherwise is not mixed with it."""
    monkeypatch.syspath_prepend(str(ROOT))
    from tools import try_on

    Path("mine.py").write_text(
        'preparation = dict(type="Preparation", parse=dict(type="ParseFiles", folder="parses"))\n'
    )
    parse = np.zeros(np.asarray(Image.open("anna.jpg")).shape[:2], np.uint8)
    parse[600:, 200:500] = 5
    Path("parses").mkdir()
    Image.fromarray(parse).save("parses/anna.png")
    argv = ["--person", "anna.jpg", "ben.jpg", "--garment", "shirt.jpg", "--out", "out"]
    argv += ["--model", MODEL, "--num-steps", "1"]
    assert try_on.main([*argv, "--preparation", "mine.py"]) == 1
    said = capsys.readouterr().out
    assert "refused: ben.jpg" in said and "parses has no map of ben" in said
    assert "1 of 2 pairs are in out" in said
    with pytest.raises(ValueError, match="drawn with another preparation"):
        try_on.main(argv)


def test_prepare_takes_any_form(photographs):
    found = prepare("anna.jpg", Image.open("shirt.jpg"), maps=["mask"])
    assert found.mask.shape == found.person.shape[:2] and 0.02 < found.mask.mean() < 0.8
    again = prepare(np.asarray(Image.open("anna.jpg")), maps=["mask"])
    assert again.mask.shape == found.mask.shape
    with pytest.raises(PreparationError, match="nobody is seen"):
        prepare("shirt.jpg", maps=["mask"])


def test_the_shipped_model_is_listed():
    assert MODEL in [card.name for card in list_models()]
