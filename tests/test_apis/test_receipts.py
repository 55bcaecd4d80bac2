"""A picture is watched while it is drawn, and its receipt draws it again, bit for bit."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "test_evaluation"))
import small_test

from vtonlab.apis import TryOnInferencer
from vtonlab.apis.receipts import (
    identity,
    pixels_sha256,
    read_receipt,
    receipt_of,
    repeat,
    write_receipt,
)
from vtonlab.apis.watching import Stopped, calls, preview, usual, watching
from vtonlab.registry import MODELS
from vtonlab.utils.bounded import FileError, MemoryFile

SIZE = small_test.SIZE


@pytest.fixture(scope="module")
def inferencer(tmp_path_factory):
    torch.manual_seed(0)
    model = MODELS.build(small_test.small_config(tmp_path_factory.mktemp("w")).model.to_dict())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return TryOnInferencer(model)


@pytest.fixture(scope="module")
def given():
    """Photographs of another shape than the model's, so that they are padded."""
    rng = np.random.default_rng(0)
    height, width = 3 * SIZE[0], 2 * SIZE[1]
    mask = np.zeros((height, width), bool)
    mask[height // 3 : height // 2, width // 4 : width // 2] = True
    draw = lambda *size: rng.integers(0, 256, (*size, 3), dtype=np.uint8)  # noqa: E731
    return dict(
        person=draw(height, width), garment=draw(50, 60), mask=mask, pose=draw(height, width)
    )


SETTINGS = dict(seed=3, num_steps=2, guidance_scale=1.0, repaint=True)


def test_a_receipt_draws_the_same_bits(inferencer, given, tmp_path):
    result = inferencer(**given, **SETTINGS)
    model = dict(name="small", sha256="0" * 64)
    text = write_receipt(receipt_of(result, model=model, **SETTINGS))
    (tmp_path / "receipt.json").write_text(text)
    receipt = read_receipt(tmp_path / "receipt.json")
    assert receipt.settings == SETTINGS and receipt.model == model
    again = repeat(inferencer, receipt)
    assert np.array_equal(again.picture, result.picture)
    assert np.array_equal(again.mask, result.mask)
    assert pixels_sha256(again.picture) == receipt.picture_sha256
    other = repeat(inferencer, receipt.with_settings(seed=4))
    assert not np.array_equal(other.picture, result.picture)


def test_what_is_no_receipt_is_refused_by_name(inferencer, given):
    result = inferencer(**given, **SETTINGS)
    text = write_receipt(receipt_of(result, model=dict(name="m", sha256="0"), **SETTINGS))

    def broken(change) -> MemoryFile:
        data = json.loads(text)
        change(data)
        return MemoryFile("mine.json", json.dumps(data).encode())

    for change, words in (
        (lambda d: d.update(kind="x"), "it is no receipt"),
        (lambda d: d["settings"].pop("seed"), "lacks 'seed'"),
        (lambda d: d["settings"].update(num_steps="9"), "num_steps is '9'"),
        (lambda d: d["settings"].update(num_steps=10**9), "num_steps is 1000000000"),
        (lambda d: d["pair"].update(category="hat"), "category 'hat'"),
        (lambda d: d["pair"].update(source_size=[0, 9]), "source_size"),
        (lambda d: d["shown"].pop("mask"), "has no mask"),
        (lambda d: d["shown"].update(body="x"), "unknown 'body'"),
        (lambda d: d["shown"].update(person="x"), "person"),
        (lambda d: d["shown"].update(mask=d["shown"]["mask"][:40]), "mask"),
    ):
        with pytest.raises(FileError, match=words):
            read_receipt(broken(change))
    with pytest.raises(FileError, match=r"^x\.json"):
        read_receipt(MemoryFile("x.json", b"\x80\x04."))


def test_weights_have_a_name_and_a_hash(tmp_path):
    assert len(identity("coral_synthetic")["sha256"]) == 64
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.py").write_text("")
    (tmp_path / "run/model.safetensors").write_bytes(b"weights")
    found = identity(tmp_path / "run")
    assert found == dict(name="run", sha256=hashlib.sha256(b"weights").hexdigest())


def test_steps_are_shown_and_a_stop_comes_between_two(inferencer, given):
    seen = []
    own = usual(inferencer)
    callback = watching(lambda done, picture: seen.append((done, picture)), lambda: len(seen) == 3)
    with pytest.raises(Stopped):
        inferencer(**given, num_steps=5, callback_on_step_end=callback)
    assert [done for done, _ in seen] == [1, 2, 3] and calls(inferencer, 5) == 5
    assert all(picture.shape == (*SIZE, 3) for _, picture in seen)
    assert usual(inferencer) == own and not own.guidable  # as before, also after a stop
    last = inferencer(**given, num_steps=4, repaint=False)
    seen.clear()
    shown = watching(lambda done, picture: seen.append((done, picture)), lambda: False)
    inferencer(**given, num_steps=4, repaint=False, callback_on_step_end=shown)
    difference = seen[-1][1].astype(int) - _on_canvas(last, seen[-1][1])
    assert np.abs(difference).max() <= 1  # x - sigma v, and the scheduler's sum of the same


def _on_canvas(result, like) -> np.ndarray:
    """The target of what was shown: the picture with its padding."""
    assert result.shown["target"].shape == like.shape
    return result.shown["target"].astype(int)


def test_a_preview_is_small(inferencer, given):
    kept = {}
    inferencer(**given, num_steps=1, callback_on_step_end=lambda *s: kept.update(s[3]) or None)
    (picture,) = preview(inferencer, kept["clean"], longest=8)
    assert max(picture.shape) < max(SIZE) and picture.dtype == np.uint8


def test_a_receipt_names_no_place_outside_of_out(inferencer, given, tmp_path, monkeypatch):
    """A stranger's names are quoted, as in every other file name."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    from tools import try_on

    result = inferencer(**given, **SETTINGS)
    model = dict(name="small", sha256="0" * 64)
    data = json.loads(write_receipt(receipt_of(result, model=model, **SETTINGS)))
    data["pair"].update(id=str(tmp_path / "victim"), garment_id="/../kept")
    (tmp_path / "r.json").write_text(json.dumps(data))
    monkeypatch.setattr("vtonlab.apis.receipts.identity", lambda *_: model)
    monkeypatch.setattr("vtonlab.apis.TryOnInferencer", lambda *_, **__: inferencer)
    out = tmp_path / "out/inner"
    assert try_on.main(["--receipt", str(tmp_path / "r.json"), "--out", str(out)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"r.json", "out"}
    assert [path.suffix for path in out.iterdir()] == [".png"]


@pytest.mark.slow
def test_the_command_draws_a_receipt(given, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    from tools.try_on import main

    result = TryOnInferencer("coral_synthetic")(**given, **SETTINGS)
    model = identity("coral_synthetic")
    (tmp_path / "r.json").write_text(write_receipt(receipt_of(result, model=model, **SETTINGS)))
    command = ["--receipt", str(tmp_path / "r.json"), "--out", str(tmp_path / "out")]
    assert main(command) == 0 and "the same bits" in capsys.readouterr().out
    (drawn,) = (tmp_path / "out").iterdir()
    assert np.array_equal(np.asarray(Image.open(drawn)), result.picture)
    with pytest.raises(ValueError, match="other weights"):
        main([*command, "--model", "baseline_synthetic"])
