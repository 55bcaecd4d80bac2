import hashlib
import json

import numpy as np
import pytest
import torch

from vtonlab.engine.config.load import load_config
from vtonlab.evaluation.image_errors import l1_inside
from vtonlab.zoo import box as module
from vtonlab.zoo import card, cards, load_weights, weights_path

PEOPLE, PICTURES = 4, 4  # of the test of many steps, which takes minutes
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


@pytest.mark.parametrize("name", [found.name for found in cards("model")])
def test_a_shipped_model_dresses_people_by_its_name(name, tmp_path):
    """What ``tools/test.py --model NAME`` does, on two people: card and result stand together."""
    from vtonlab.engine.config.load import finalize, load_config
    from vtonlab.engine.testing.run import test

    shipped = card(name)
    options = {
        "test_dataloader.dataset.length": 2,
        "test_dataloader.dataset.cache_dir": str(tmp_path / "cache"),
    }
    config = finalize(load_config(shipped.config, options), work_dir=str(tmp_path))
    results = test(config, str(weights_path(shipped.name)), tmp_path / "test")
    assert results["images"] == 2 and set(shipped.scores) <= set(results["metrics"])
    metrics = results["metrics"]  # of two people, who are few
    if "attention_pck" not in shipped.scores:
        assert metrics["warp_miou"] > shipped.scores["warp_miou"] / 2
        return
    least = max(shipped.scores["attention_pck"] / 3, 3 * metrics["attention_pck_chance"])
    assert metrics["attention_pck"] > least


def test_a_base_is_found_by_its_name_in_a_config():
    from vtonlab.engine.config.load import finalize, load_config

    config = finalize(load_config("configs/coral/dit_bold.py"))
    assert config.load_from == str(weights_path("base_dit"))


def drawn(model, batch, steps, average):
    """Error inside the mask of each picture (B,) of a shipped model."""
    with model.sampler.changed(num_steps=steps):
        model.sampler.average = average
        results = model.predict(batch)
    return np.array([l1_inside(r["image"], r["target"], r["mask"]) for r in results])


def test_only_what_two_photographs_suffice_for_is_offered_for_them():
    """A card says it; the model's class decides."""
    from vtonlab.apis import list_models
    from vtonlab.models import TryOnDiffusion
    from vtonlab.registry import MODELS

    for shipped in cards("model"):
        kind = MODELS.get(load_config(shipped.config).model.type)
        assert shipped.photographs == issubclass(kind, TryOnDiffusion)
    assert list_models(photographs=True) == [c for c in list_models() if c.photographs]


@pytest.mark.slow
@pytest.mark.parametrize("name", [found.name for found in cards("model") if found.photographs])
def test_more_steps_are_not_worse_in_the_mean(name, tmp_path):
    """One picture of many steps is one guess and further from the truth than the mean of all, which
    one step draws; the mean of guesses of 4, 12 or 30 steps is not worse beyond noise.

    What is left of the guesses' spread in a mean of K is taken out as if errors were normal:
    ``alone^2 = middle^2 + v`` and ``mean^2 = middle^2 + v / K``.
    """
    from vtonlab.apis import init_model
    from vtonlab.registry import DATASETS
    from vtonlab.structures.sample import collate

    model = init_model(name)
    model.probe = None
    settings = load_config(card(name).config).test_dataloader.dataset.to_dict()
    people = DATASETS.build(settings | dict(split="val", length=PEOPLE, cache_dir=str(tmp_path)))
    batch = collate([people[n] for n in range(PEOPLE)])
    batch = model.data_preprocessor(batch, False)
    with torch.no_grad():
        few = drawn(model, batch, 1, 1)
        for steps in (4, 12, 30):
            alone, mean = drawn(model, batch, steps, 1), drawn(model, batch, steps, PICTURES)
            assert mean.mean() < alone.mean()  # convexity: the mean is no worse than its parts
            left = (alone**2 - mean**2).clip(0) / (PICTURES - 1)
            middle = np.sqrt(mean**2 - left)
            assert middle.mean() <= few.mean() + 2 * (middle - few).std() / PEOPLE**0.5
