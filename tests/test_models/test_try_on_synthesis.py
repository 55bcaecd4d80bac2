"""TryOnSynthesis: what it sees, what its pictures depend on, who learns from what."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

from vtonlab.engine.running.ema import WarmupEMA
from vtonlab.engine.running.optimizers import MultiOptimWrapperConstructor

sys.path.insert(0, str(Path(__file__).parent))
from small_synthesis import OPTIMISERS, batch, make, settings, wrappers


@pytest.fixture(autouse=True)
def our_names():
    """Short names are vtonlab's first, as in a run."""
    with DefaultScope.overwrite_default_scope("vtonlab"):
        yield


def predicted(model, data: dict) -> list[dict]:
    model.eval()
    return model.test_step({k: v for k, v in data.items() if k != "step"})


def gradients(model) -> dict[str, torch.Tensor | None]:
    return {name: p.grad for name, p in model.named_parameters()}


# what it sees -------------------------------------------------------------------------------------


def test_no_pixel_of_the_photograph_inside_the_mask_is_seen():
    """Not even where a reader's agnostic picture would show it."""
    model = make()

    def noise_inside(sample):
        mask = sample["mask"][..., None].astype(bool)
        drawn = np.random.default_rng(9).integers(0, 256, sample["person"].shape, dtype=np.uint8)
        return np.where(mask, drawn, sample["person"])

    first = predicted(model, batch())
    other = predicted(model, batch(person=noise_inside, agnostic=noise_inside))
    for one, two in zip(first, other, strict=True):
        assert np.array_equal(one["image"], two["image"])
        assert not np.array_equal(one["target"], two["target"])


def test_the_worn_mask_and_the_truth_are_not_seen():
    model = make()
    nothing = dict(worn_mask=lambda s: 0 * s["mask"], parse=lambda s: s["mask"])
    first, other = predicted(model, batch()), predicted(model, batch(**nothing))
    assert all(np.array_equal(a["image"], b["image"]) for a, b in zip(first, other, strict=True))


def test_the_garment_is_seen_inside_its_mask_alone():
    model = make()

    def changed(sample, inside: bool):
        mask = sample["garment_mask"][..., None].astype(bool)
        return np.where(mask == inside, 255 - sample["garment"], sample["garment"])

    first = predicted(model, batch())
    outside = predicted(model, batch(garment=lambda s: changed(s, False)))
    inside = predicted(model, batch(garment=lambda s: changed(s, True)))
    assert np.array_equal(first[0]["image"], outside[0]["image"])
    assert not np.array_equal(first[0]["image"], inside[0]["image"])


@pytest.mark.parametrize("key", ["pose", "agnostic"])
def test_pose_and_retained_person_are_seen(key):
    model = make()
    first, other = (
        predicted(model, batch()),
        predicted(model, batch(**{key: lambda s: 255 - s[key]})),
    )
    assert not np.array_equal(first[0]["image"], other[0]["image"])


# what pictures depend on --------------------------------------------------------------------------


def test_a_picture_depends_on_its_pair_and_the_seed_alone():
    model = make()
    together, alone = predicted(model, batch((0, 1))), predicted(model, batch((1,)))
    assert np.abs(together[1]["image"].astype(int) - alone[0]["image"]).max() <= 1
    moved = batch((0, 1)) | {"position": torch.tensor([70, 71]), "index": [5, 6]}
    assert np.array_equal(predicted(model, moved)[1]["image"], together[1]["image"])
    other_seed = predicted(make(seed=1), batch((0, 1)))
    assert not np.array_equal(other_seed[1]["image"], together[1]["image"])
    renamed = batch((0, 1), garment_id=lambda s: "another")
    assert not np.array_equal(predicted(model, renamed)[1]["image"], together[1]["image"])


def test_noise_of_training_depends_on_seed_and_position():
    model = make()
    first = model._noise("synthesis", [3, 4])
    second = model._noise("synthesis", [9, 3])
    sizes = [(8, 6), (16, 12), (16, 12), (32, 24), (32, 24)]
    assert [tuple(m.shape) for m in first] == [(2, 1, *size) for size in sizes]
    assert all(torch.equal(a[0], b[1]) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0][0], first[0][1])
    assert not torch.equal(first[1], first[2])  # each layer its own


def test_results_are_those_of_other_models_and_the_pasted_warp():
    results = predicted(make(), batch())
    keys = (
        "id garment_id category index image repainted garment target mask flow warped warped_mask "
        "worn_mask"
    )
    assert set(results[0]) == set(keys.split())
    one, given = results[0], batch()
    assert one["image"].shape == one["warped"].shape == (32, 24, 3)
    assert one["image"].dtype == one["warped"].dtype == one["warped_mask"].dtype == np.uint8
    unworn = one["warped_mask"] == 0
    agnostic = given["agnostic"][0].permute(1, 2, 0).numpy()
    kept = make().warping.warp(make().data_preprocessor(given)).warped_mask[0, 0].numpy() == 0
    assert (np.abs(one["warped"].astype(int) - agnostic)[unworn & kept] <= 1).all()
    assert make().preview(make().data_preprocessor(given)).shape == (64, 120, 3)


# who learns ---------------------------------------------------------------------------------------


def test_one_step_trains_generator_and_discriminator_and_not_the_warping():
    model = make().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    losses = model.train_step(batch((0, 1, 2, 3)), wrappers(model))
    assert set(losses) == {
        *("loss_discriminator", "loss_r1", "loss_adversarial", "loss_l1"),
        *("score_real", "score_fake"),
    }
    assert all(torch.isfinite(value) and not value.requires_grad for value in losses.values())
    changed = {k.split(".")[0] for k, v in model.state_dict().items() if not v.equal(before[k])}
    assert changed == {"generator", "discriminator"}
    assert not any(p.requires_grad for p in model.warping.parameters())
    assert all(p.requires_grad for p in model.discriminator.parameters())
    assert not model.warping.training and model.generator.training


def test_gradients_reach_every_trained_parameter_and_no_other(monkeypatch):
    model = make().train()
    optimisers, found = wrappers(model), {}
    for name, wrapper in optimisers.items():
        monkeypatch.setattr(
            wrapper, "step", lambda name=name: found.update({name: dict(gradients(model))})
        )
        monkeypatch.setattr(wrapper, "zero_grad", lambda: None)
    model.train_step(batch((0, 1, 2, 3)), optimisers)
    for name, seen in found.items():
        own = {k: g for k, g in seen.items() if k.startswith(name)}
        assert own and [k for k, g in own.items() if g is None or not g.any()] == []
    assert all(g is None for k, g in found["generator"].items() if k.startswith("warping"))
    assert all(g is None for k, g in found["discriminator"].items() if k.startswith("generator"))


def test_the_generators_step_leaves_no_gradient_in_the_discriminator():
    model = make().train()
    model.train_step(batch(), wrappers(model))
    assert all(p.grad is None for p in model.discriminator.parameters())


def test_r1_is_there_every_sixteenth_step():
    model = make().train()
    optimisers = wrappers(model)
    found = [
        float(model.train_step(batch() | {"step": step}, optimisers)["loss_r1"])
        for step in (0, 1, 15, 16, 17)
    ]
    assert [value > 0 for value in found] == [True, False, False, True, False]


def test_losses_are_those_of_the_pictures_drawn_for_the_step():
    model = make().train()
    data = batch()
    given = model.data_preprocessor(data)
    with torch.no_grad():
        fake, _ = model.draw(given, model._noise("synthesis", given["position"].tolist()))
        real = model.discriminator(given["person"], given["pose"])
        scored = model.discriminator(fake, given["pose"])
    losses = model.train_step(data, wrappers(model))
    softplus = torch.nn.functional.softplus
    assert losses["loss_l1"] == pytest.approx(float((fake - given["person"]).abs().mean()))
    wanted = softplus(-real).mean() + softplus(scored).mean()
    assert losses["loss_discriminator"] == pytest.approx(float(wanted), rel=1e-5)
    assert losses["score_real"] == pytest.approx(float(real.mean()), rel=1e-4)
    assert losses["loss_adversarial"] != pytest.approx(float(softplus(-scored).mean()))  # D moved


@pytest.mark.parametrize("most", [1, 8])
def test_warps_that_are_kept_are_those_of_the_frozen_model(most, monkeypatch):
    kept, plain = (make(keep_warps=n).train().double() for n in (most, 0))
    alone = []
    warp = kept.warping.warp
    monkeypatch.setattr(kept.warping, "warp", lambda pair: alone.append(1) or warp(pair))
    steps = [(0, 1), (1, 0), (0, 2)]
    for numbers in steps:
        given = plain.data_preprocessor(batch(numbers))
        given = {k: v.double() if torch.is_tensor(v) else v for k, v in given.items()}
        noise = [maps.double() for maps in plain._noise("synthesis", numbers)]
        (picture, found), (wanted, true) = (m.draw(given, noise) for m in (kept, plain))
        torch.testing.assert_close(picture, wanted)
        for name in ("flow", "warped", "warped_mask", "landed"):
            torch.testing.assert_close(getattr(found, name), getattr(true, name))
    assert len(alone) == {1: 4, 8: 3}[most] and len(kept.kept_warps) == min(most, 3)
    given["garment"] = given["garment"].flip(-1)  # mirrored: other pairs
    kept.draw(given, noise)
    assert len(alone) == {1: 6, 8: 5}[most]
    kept.load_state_dict(plain.state_dict())
    assert len(kept.kept_warps) == 0
    kept.eval().draw(given, noise)
    assert len(kept.kept_warps) == 0


# what is saved ------------------------------------------------------------------------------------


def test_averages_are_of_the_generator_alone():
    model = make().train()
    average = WarmupEMA(model=model, momentum=0.5)
    model.train_step(batch(), wrappers(model))
    average.update_parameters(model)
    model.train_step(batch() | {"step": 1}, wrappers(model))
    average.update_parameters(model)
    mine, averaged = (dict(m.named_parameters()) for m in (model, average.module))
    for name, parameter in mine.items():
        shared = averaged[name] is parameter
        assert shared == (not name.startswith("generator.")), name
        assert averaged[name].requires_grad == parameter.requires_grad
    assert any(not averaged[k].equal(p) for k, p in mine.items() if k.startswith("generator."))


def test_facts_and_what_exports_leave_out():
    model = make()
    meta = model.checkpoint_meta()
    assert meta["model"] == "TryOnSynthesis" and meta["warping"] == "TryOnWarping"
    assert meta["size"] == [32, 24] and meta["mask_polarity"] == "1 = generate"
    left_out = [k for k in model.state_dict() if k.startswith(model.train_only_prefixes)]
    assert left_out and all(k.startswith("discriminator.") for k in left_out)


# errors -------------------------------------------------------------------------------------------


def test_errors():
    with pytest.raises(ValueError, match="need sizes divisible by 4, not 34x24"):
        make(size=(34, 24))
    with pytest.raises(ValueError, match="keep_warps -1 must be 0"):
        make(keep_warps=-1)
    with pytest.raises(ValueError, match="without 'loss' in it"):
        make(image_losses=dict(loss_l1=dict(type="L1Loss")))
    with pytest.raises(ValueError, match="TryOnSynthesis answers 'predict'"):
        make()(mode="loss", **batch())
    model = make(size=(64, 48), warping=settings()["warping"] | dict(size=(64, 48)))
    with pytest.raises(ValueError, match="pictures of 64x48, the batch has 32x24"):
        predicted(model, batch())
    with pytest.raises(ValueError, match="cannot be split into groups of 2"):
        make().train_step(batch((0,)), MultiOptimWrapperConstructor(OPTIMISERS)(make()))
