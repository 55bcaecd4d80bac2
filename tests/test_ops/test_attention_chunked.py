"""Statistics of the head-averaged map, by chunks that divide nothing evenly."""

import pytest
import torch

from vtonlab.ops import attention_chunked as C


@pytest.fixture(params=[1, 700, 1 << 20])
def chunk(request, monkeypatch):
    monkeypatch.setitem(C.CHUNK_ELEMENTS, "cpu", request.param)


def tensors(nq=29, nk=23, dtype=torch.float64):
    g = torch.Generator().manual_seed(3)
    shapes = ((2, 3, nq, 5), (2, 3, nk, 5), (2, nk, 2))
    return [torch.randn(s, generator=g, dtype=dtype).requires_grad_() for s in shapes]


def naive(query, key, values, scale):
    mean_map = (scale * query @ key.mT).softmax(-1).mean(1)
    return mean_map @ values, torch.special.entr(mean_map).sum(-1)


@pytest.mark.parametrize("which", ["mean", "entropy", "both"])
def test_against_the_whole_map(chunk, which):
    inputs = tensors()
    query, key, values = inputs
    moments = C.head_mean_moments(query, key, 1.3, values, entropy=True)
    mean, entropy = naive(*inputs, 1.3)
    assert torch.allclose(moments.mean, mean) and torch.allclose(moments.entropy, entropy)
    pick = {"mean": [0], "entropy": [1], "both": [0, 1]}[which]
    got = sum(moments[i].cos().sum() for i in pick)
    want = sum((mean, entropy)[i].cos().sum() for i in pick)
    grads = [torch.autograd.grad(t, inputs, allow_unused=True) for t in (got, want)]
    for one, two in zip(*grads, strict=True):
        assert torch.allclose(
            *(torch.zeros((), dtype=torch.float64) if t is None else t for t in (one, two))
        )


def test_rows_in_any_order_and_repeated(chunk):
    inputs = tensors()
    query, key, values = inputs
    rows = (torch.tensor([1, 0, 1, 1, 0, 1]), torch.tensor([5, 28, 5, 0, 3, 17]))
    moments = C.head_mean_moments(query, key, 0.7, values, entropy=True, rows=rows)
    mean, entropy = (part[rows] for part in naive(*inputs, 0.7))
    assert torch.allclose(moments.mean, mean) and torch.allclose(moments.entropy, entropy)
    weight = torch.arange(1.0, 7.0, dtype=torch.float64)
    got = (moments.entropy * weight).sum() + moments.mean.sin().sum()
    want = (entropy * weight).sum() + mean.sin().sum()
    for one, two in zip(
        torch.autograd.grad(got, inputs), torch.autograd.grad(want, inputs), strict=True
    ):
        assert torch.allclose(one, two)


def test_rows_of_one_sample_leave_the_other_untouched():
    query, key, _ = tensors()
    rows = (torch.ones(4, dtype=torch.int64), torch.arange(4))
    C.head_mean_moments(query, key, 1.0, entropy=True, rows=rows).entropy.sum().backward()
    assert query.grad[0].abs().max() == 0 and key.grad[0].abs().max() == 0
    assert query.grad[1, :, :4].abs().min() > 0 and query.grad[1, :, 4:].abs().max() == 0


def test_gradcheck():
    query, key, values = (t[:1, ..., :4, :].detach().requires_grad_() for t in tensors())
    torch.autograd.gradcheck(
        lambda *t: tuple(C.head_mean_moments(*t[:2], 0.9, t[2], entropy=True)),
        (query, key, values),
    )


def test_map_and_argmax(chunk):
    query, key, _ = tensors()
    mean_map = (2.0 * query @ key.mT).softmax(-1).mean(1)
    assert torch.allclose(C.head_mean_map(query, key, 2.0), mean_map)
    assert torch.equal(C.head_mean_argmax(query, key, 2.0), mean_map.argmax(-1))
    chosen = torch.tensor([4, 4, 1])
    assert torch.allclose(C.head_mean_map(query, key, 2.0, chosen), mean_map[:, chosen])


def test_safe_log_is_right_at_a_peak_and_finite_at_zero():
    rest = 1e-9
    prob = torch.tensor([[1.0, rest, 0.0]])
    log = C._safe_log(prob)
    assert log[0, 0].item() == pytest.approx(-rest, rel=1e-5)
    assert torch.isfinite(log).all()
