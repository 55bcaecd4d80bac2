"""What scoring says of the pictures it was given, and how fast it gives a network up."""

import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vtonlab.datasets.readers.lists import Pair
from vtonlab.evaluation import weights
from vtonlab.evaluation.predictions import encoding, match_predictions, naming

PAIRS = [Pair("a", "b"), Pair("b", "a")]


def pictures(folder: Path, names, **options) -> list[Path]:
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    for name in names:
        Image.fromarray(noise).save(folder / name, **options)
    return [folder / name for name in names]


def test_jpeg_predictions_are_told_with_their_quality(tmp_path):
    files = pictures(tmp_path, ["a.jpg", "b.jpg"], quality=60)
    assert encoding(files) == "JPEG of quality 60"
    mixed = [*files, *pictures(tmp_path, ["c.png"])]
    assert encoding(mixed) == "2 JPEG of quality 60, 1 PNG"


def test_names_that_say_the_person_alone_are_told(tmp_path):
    assert naming(pictures(tmp_path, ["a.png", "b.png"]), PAIRS) == "<person>"
    full = pictures(tmp_path, ["a__b.png", "b__a.png"])
    assert naming(full, PAIRS) == "<person>__<garment>"


def test_a_pair_that_is_listed_twice_is_named(tmp_path):
    Image.new("RGB", (6, 8)).save(tmp_path / "anna__shirt.png")
    pairs = [Pair("anna", "shirt"), Pair("anna", "shirt")]
    with pytest.raises(ValueError, match="the list names anna with shirt more than once"):
        match_predictions(tmp_path, pairs, [(8, 6), (8, 6)])


def test_a_macs_notes_are_no_predictions(tmp_path):
    pictures(tmp_path, ["a.png", "b.png"])
    (tmp_path / "._a.png").write_bytes(b"notes")
    found = match_predictions(tmp_path, PAIRS, [(40, 30)] * 2)
    assert [path.name for path in found] == ["a.png", "b.png"]


@pytest.fixture
def no_network(monkeypatch):
    tried = []

    def refuse(address, timeout):
        tried.append(address)
        raise OSError("no route")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(weights, "getproxies", dict)
    weights.reachable.cache_clear()
    yield tried
    weights.reachable.cache_clear()


def test_an_unreachable_hub_is_asked_once(no_network, tmp_path):
    assert weights.only_local("openai/clip-vit-base-patch32")
    assert weights.only_local("facebook/dinov2-base")
    assert no_network == [("huggingface.co", 443)]
    assert weights.only_local(str(tmp_path)) and len(no_network) == 1
