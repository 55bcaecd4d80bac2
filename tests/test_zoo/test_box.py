import hashlib
import json

import pytest

from vtonlab.zoo import box as module
from vtonlab.zoo import card, cards, load_weights, weights_path

LIMITS = {"codec": 2_000_000, "base": 4_000_000, "model": 4_000_000}


@pytest.mark.parametrize("shipped", cards(), ids=lambda found: found.name)
def test_every_card_is_whole_and_its_weights_are_those_it_names(shipped):
    assert hashlib.sha256(shipped.path.read_bytes()).hexdigest() == shipped.sha256
    assert shipped.path.stat().st_size == shipped.bytes <= LIMITS[shipped.kind]
    assert shipped.licence == "Apache-2.0" and shipped.command.startswith("python ")
    assert shipped.data and shipped.commit and shipped.config and shipped.title
    assert all(value.dtype.is_floating_point for value in load_weights(shipped.name).values())


def test_every_file_of_weights_has_a_card():
    assert {c.file for c in cards()} == {p.name for p in module.HERE.glob("*.safetensors")}


def test_unknown_name_says_what_there_is():
    with pytest.raises(ValueError, match="did you mean 'linear_codec'"):
        card("linear_codek")


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    shipped = card("linear_codec")
    data = bytearray(shipped.path.read_bytes())
    data[-1] ^= 1
    (tmp_path / shipped.file).write_bytes(data)
    (tmp_path / "linear_codec.json").write_text(json.dumps(shipped.__dict__))
    monkeypatch.setattr(module, "HERE", tmp_path)
    with pytest.raises(ValueError, match="is not the file of its card"):
        weights_path("linear_codec")
    (tmp_path / shipped.file).unlink()
    with pytest.raises(FileNotFoundError, match="install vtonlab again"):
        weights_path("linear_codec")
