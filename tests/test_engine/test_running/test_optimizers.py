"""float16 with a scaler, and one optimiser for each part of a model."""

import copy

import pytest
import torch
import toy
from mmengine.registry import DefaultScope
from torch import nn

from vtonlab.engine import NonFiniteError
from vtonlab.engine.running.optimizers import AutocastOptimWrapper, MultiOptimWrapperConstructor


@pytest.fixture(autouse=True)
def our_names():
    """Short names are vtonlab's first, as in a run."""
    with DefaultScope.overwrite_default_scope("vtonlab"):
        yield


def half(scale: float = 1024.0, **settings):
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return model, AutocastOptimWrapper(
        optimizer=optimizer, dtype="float16", loss_scale=scale, **settings
    )


def step(model, wrapper, factor: float = 1.0) -> None:
    with wrapper.optim_context(model):
        loss = model(torch.ones(2, 3)).float().mean() * factor
    wrapper.update_params(loss)


def test_float16_steps_as_float32_does():
    torch.manual_seed(0)
    model, wrapper = half(clip_grad=dict(max_norm=0.5))
    reference = copy.deepcopy(model)
    step(model, wrapper)
    reference(torch.ones(2, 3)).mean().backward()
    torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
    torch.optim.SGD(reference.parameters(), lr=0.1).step()
    torch.testing.assert_close(model.weight, reference.weight, rtol=1e-3, atol=1e-4)
    assert model.weight.dtype is torch.float32


def test_an_overflow_leaves_out_the_step_and_halves_the_scale():
    model, wrapper = half(scale=2.0**20)
    before = copy.deepcopy(model.state_dict())
    step(model, wrapper)
    assert wrapper.scaler.get_scale() == 2.0**19 and wrapper.overflows == 1
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    for _ in range(40):
        step(model, wrapper)
    assert wrapper.overflows == 0 and not torch.equal(before["weight"], model.weight)


def test_overflows_without_end_are_an_error():
    model, wrapper = half(scale=2.0**60, max_overflows=3)
    with pytest.raises(NonFiniteError, match=r"4 steps in a row .*bfloat16"):
        for _ in range(10):
            step(model, wrapper)


def test_a_loss_that_is_not_finite_is_no_overflow():
    model, wrapper = half()
    with pytest.raises(NonFiniteError, match="the loss is nan"):
        step(model, wrapper, float("nan"))
    model, wrapper = half(on_nonfinite="skip", max_skips=1)
    step(model, wrapper, float("nan"))
    assert wrapper.skips == 1 and torch.isfinite(model.weight).all()
    with pytest.raises(NonFiniteError, match="more than max_skips"):
        step(model, wrapper, float("nan"))


def test_a_skipped_step_is_not_taken_and_is_counted_for_good():
    """An infinite loss whose gradients are finite: the scaler alone would step."""
    model, wrapper = half(on_nonfinite="skip", max_skips=1)
    before = model.weight.detach().clone()
    wrapper.update_params(model.weight.sum() + torch.inf)
    assert torch.equal(model.weight, before) and wrapper.skips == 1
    model, other = half(on_nonfinite="skip", max_skips=1)
    other.load_state_dict(wrapper.state_dict())
    with pytest.raises(NonFiniteError, match="more than max_skips"):
        other.update_params(model.weight.sum() + torch.inf)


def test_the_scaler_is_saved_and_found_again():
    model, wrapper = half(scale=2.0**40)
    step(model, wrapper)
    state = copy.deepcopy(wrapper.state_dict())
    _, other = half()
    other.load_state_dict(state)
    assert other.state_dict()["loss_scaler"] == state["loss_scaler"]
    assert other.overflows == 1 and "loss_scaler" in state  # the argument is left as it was
    plain = nn.Linear(3, 1)
    bf16 = AutocastOptimWrapper(optimizer=torch.optim.SGD(plain.parameters(), lr=0.1))
    bf16.load_state_dict(state)  # a run that changes to bfloat16


def test_each_part_has_its_optimizer():
    wrappers = MultiOptimWrapperConstructor(parts())(toy.ToyAdversary())
    counts = {
        name: sum(p.numel() for g in w.param_groups for p in g["params"])
        for name, w in wrappers.items()
    }
    model = toy.ToyAdversary()
    sizes = {n: sum(p.numel() for p in m.parameters()) for n, m in model.named_children()}
    assert counts["generator"] == sizes["embedding"] + sizes["generator"]
    assert counts["discriminator"] == sizes["discriminator"]
    assert [w.name for w in wrappers.values()] == ["generator", "discriminator"]


def parts(**changes) -> dict:
    settings = copy.deepcopy(toy.TWO_OPTIMIZERS)
    del settings["constructor"]
    return settings | changes


ADAM = dict(optimizer=dict(type="Adam", lr=1e-3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (parts(judge=dict(ADAM)), r"names 'judge'.*embedding, generator, discriminator"),
        (parts(embedding=dict(ADAM)), "both train embedding"),
        ({"discriminator": dict(ADAM)}, r"no part .* trains .*first is embedding\.weight"),
    ],
)
def test_parts_that_do_not_fit_the_model_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MultiOptimWrapperConstructor(settings)(toy.ToyAdversary())


def test_settings_by_parameter_name_reach_a_part():
    settings = parts()
    settings["generator"]["paramwise_cfg"] = dict(custom_keys={"embedding": dict(lr_mult=0.1)})
    wrapper = MultiOptimWrapperConstructor(settings)(toy.ToyAdversary())["generator"]
    assert sorted({group["lr"] for group in wrapper.param_groups}) == [1e-4, 1e-3]


@pytest.mark.parametrize("grouped", [False, True])
def test_adamw_steps_in_one_kernel_and_says_the_same(grouped):
    """Equal up to float64's last digits, which each of the 5 steps may move by one."""
    from vtonlab.engine.running.adam import adamw

    torch.manual_seed(0)
    start = [torch.randn(7, 5, dtype=torch.float64), torch.randn(3, dtype=torch.float64)]
    found = []
    for fused in (None, False):
        own = [torch.nn.Parameter(tensor.clone()) for tensor in start]
        groups = [dict(params=own[:1], lr=0.1), dict(params=own[1:])] if grouped else iter(own)
        optimizer = adamw(groups, lr=1e-2, weight_decay=0.1, fused=fused)
        assert optimizer.param_groups[0]["fused"] is (fused is None)
        generator = torch.Generator().manual_seed(1)
        for _ in range(5):
            for p in own:
                p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            optimizer.step()
        found.append(torch.cat([p.detach().flatten() for p in own]))
    torch.testing.assert_close(*found, rtol=1e-14, atol=1e-15)
    assert not adamw([torch.nn.Parameter(start[0])], foreach=True).param_groups[0]["fused"]
