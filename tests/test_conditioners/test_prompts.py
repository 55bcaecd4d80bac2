"""Cached prompts: encoded once, again where the encoders changed, and served without them."""

import shutil

import pytest
import torch

from vtonlab.conditioners import CachedPrompt


class Counting(CachedPrompt):
    """Stands in for the text encoders: every call of `_encode` gives other numbers."""

    calls = 0

    def _encode(self):
        Counting.calls += 1
        return {
            f"{kind}_{key}": torch.full(shape, float(Counting.calls))
            for key in self.prompts
            for kind, shape in (("tokens", (3, 4)), ("pooled", (5,)))
        }


@pytest.fixture
def weights(tmp_path):
    """A local folder with text encoders."""
    for part in ("text_encoder", "text_encoder_2", "tokenizer"):
        (tmp_path / "flux" / part).mkdir(parents=True)
        (tmp_path / "flux" / part / "model.safetensors").write_bytes(b"one")
    return tmp_path / "flux"


@pytest.fixture
def make(weights, tmp_path):
    Counting.calls = 0

    def build(**changes):
        options = dict(path=str(weights), prompts="a person", cache_dir=str(tmp_path / "cache"))
        return Counting(**{**options, **changes})

    return build


def value(prompt, category="dresses") -> float:
    tokens, pooled = prompt([category])
    assert tokens.shape == (1, 3, 4) and pooled.shape == (1, 5)
    return tokens[0, 0, 0].item()


def test_encoded_once_for_each_setting(make):
    assert value(make()) == value(make()) == 1
    assert value(make(prompts="another")) == 2 and value(make(max_length=7)) == 3
    assert value(make()) == 1 and Counting.calls == 3


def test_encoded_or_read_the_buffers_stand_in_one_order(make):
    """Of two processes that share them tensor by tensor, one may read what the other encoded."""
    prompts = {"upper_body": "a shirt", "dresses": "a dress"}
    encoded, read = make(prompts=prompts), make(prompts=prompts)
    assert Counting.calls == 1
    names = [name for name, _ in encoded.named_buffers()]
    assert names == [name for name, _ in read.named_buffers()] and len(names) == 4


def test_changed_encoders_are_asked_again(make, weights):
    make()
    (weights / "text_encoder_2/model.safetensors").write_bytes(b"other weights")
    assert value(make()) == 2 and value(make()) == 2


def test_encoders_may_be_deleted_afterwards(make, weights):
    make()
    for part in weights.iterdir():
        shutil.rmtree(part)
    assert value(make()) == 1 and Counting.calls == 1


def test_a_damaged_cache_is_made_again(make):
    path = make().cache_file
    path.write_bytes(path.read_bytes()[:-7])
    assert value(make()) == 2 and value(make()) == 2


def test_a_prompt_for_each_category(make):
    prompt = make(prompts={"upper_body": "a shirt"})
    assert value(prompt, "upper_body") == 1
    with pytest.raises(ValueError, match="no prompt for category 'dresses'"):
        prompt(["dresses"])


def test_templates_are_known_by_name(make):
    named = make(prompts=None, template="catvton_flux_by_category")
    assert set(named.prompts) == {"upper_body", "lower_body", "dresses"}
    assert "shot of a dresses clothing[IMAGE2] The same dresses cloth" in named.prompts["dresses"]
    one = make(prompts=None, template="catvton_flux").prompts[""]
    assert "shot of a clothing[IMAGE2] The same cloth is worn" in one and "{" not in one
    with pytest.raises(ValueError, match="choose one of catvton_flux"):
        make(prompts=None, template="flux")
    with pytest.raises(ValueError, match="as prompts, or their name"):
        make(template="catvton_flux")
