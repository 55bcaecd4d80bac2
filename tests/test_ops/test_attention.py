"""Backends of `attention_moments`: equal answers, chosen by rule, never a whole map in memory."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vtonlab.ops import attention as A
from vtonlab.ops import attention_chunked as C
from vtonlab.ops.attention_precision import working_dtype


def tensors(nq=30, nk=44, size=5, channels=3, dtype=torch.float64, heads=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    shapes = ((2, heads, nq, size), (2, heads, nk, size), (2, nk, channels))
    return [torch.randn(s, generator=g, dtype=dtype).requires_grad_() for s in shapes]


@pytest.mark.parametrize("channels", [1, 4, 5, 12])
@pytest.mark.parametrize("used", ["mean", "logsumexp", "entropy", "all"])
def test_backends_agree_in_value_and_gradient(channels, used):
    query, key, values = tensors(channels=channels)
    results = []
    for backend in ("fused", "chunked"):
        moments = A.attention_moments(query, key, 0.7, values, entropy=True, backend=backend)
        parts = moments if used == "all" else [getattr(moments, used)]
        total = sum(part.sin().sum() for part in parts)
        grads = torch.autograd.grad(total, (query, key, values), allow_unused=True)
        results.append([*parts, *(g for g in grads if g is not None)])
    for one, two in zip(*results, strict=True):
        assert torch.allclose(one, two, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", ["fused", "chunked"])
def test_gradcheck(backend):
    query, key, values = tensors(nq=4, nk=6, heads=2)
    torch.autograd.gradcheck(
        lambda *t: tuple(A.attention_moments(*t[:2], 0.9, t[2], entropy=True, backend=backend)),
        (query, key, values),
    )


def test_only_what_was_asked_for_comes_back():
    query, key, values = tensors()
    assert A.attention_moments(query, key, 1.0).mean is None
    assert A.attention_moments(query, key, 1.0).entropy is None
    assert A.attention_moments(query, key, 1.0, values).entropy is None
    assert torch.equal(A.attention_mean(query, key, values, 1.0),
                       A.attention_moments(query, key, 1.0, values).mean)  # fmt: skip


def test_no_queries_is_no_error():
    query, key, values = tensors(dtype=torch.float32)
    moments = A.attention_moments(query[:, :, :0], key, 1.0, values, entropy=True)
    assert moments.mean.shape == (2, 3, 0, 3) and moments.entropy.shape == (2, 3, 0)


def test_mixed_precisions_meet_at_the_higher():
    query, key, values = tensors(dtype=torch.float32)
    moments = A.attention_moments(query, key.double(), 1.0, values.half())
    assert moments.mean.dtype == torch.float64
    assert A.attention_logsumexp(query.bfloat16(), key.bfloat16(), 1.0).dtype == torch.float32


def test_second_derivatives_are_refused_not_wrong():
    query, key, _ = tensors()
    (grad,) = torch.autograd.grad(
        A.attention_entropy(query, key, 1.0).square().sum(), query, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.square().sum().backward()


@pytest.mark.parametrize(("scale", "inside"), [(1.0, torch.float32), (100.0, torch.float64)])
def test_sharp_scores_are_computed_in_float64(scale, inside):
    query, key, _ = tensors(dtype=torch.float32)
    unit = [torch.nn.functional.normalize(t, dim=-1) for t in (query, key)]
    assert working_dtype(*unit, scale) == inside
    assert A.attention_logsumexp(*unit, scale).dtype == torch.float32
    many = unit[0][:, :, :1].expand(2, 3, 1 << 18, 5)
    assert working_dtype(many, unit[1], scale) == torch.float32  # memory comes first


class LargestTensor(TorchDispatchMode):
    """Elements of the largest tensor any operator returned inside the block."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for part in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(part, torch.Tensor):
                held = part.untyped_storage().nbytes() // part.element_size()  # views hold less
                self.elements = max(self.elements, min(part.numel(), held))
        return result


@pytest.mark.parametrize("backend", ["fused", "chunked"])
@pytest.mark.parametrize("logits", [0.3, 100.0])  # the second sends queries to -sum p log p
@pytest.mark.parametrize("graded", [None, False, True])
def test_nothing_as_large_as_a_map_is_ever_made(backend, logits, graded, monkeypatch):
    monkeypatch.setitem(C.CHUNK_ELEMENTS, "cpu", 1 << 14)
    query, key, values = tensors(600, 500, size=8, dtype=torch.float32)
    bias = None if graded is None else torch.zeros(2, 500)
    with LargestTensor() as largest:
        found = A.AttentionPass(query, key, logits, values, True, backend, bias, bool(graded))
        average = C.head_mean_moments(query, key, logits, values, entropy=True, bias=bias)
        moments = found.mean, found.logsumexp, found.entropy
        sum(part.sum() for part in (*moments, *average)).backward()
        C.head_mean_argmax(query, key, logits, bias)
    assert largest.elements <= 2 * 3 * 600 * 24  # tokens times channels
    assert largest.elements < 2 * 3 * 600 * 500 / 20


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cuda_is_cpu(dtype):
    """float32 on the GPU against float64 on the CPU, odd sizes included."""
    on_cpu = [t.detach().to(dtype).double().requires_grad_() for t in tensors(size=13, channels=7)]
    on_gpu = [t.detach().to("cuda", dtype).requires_grad_() for t in on_cpu]
    wanted = A.attention_moments(*on_cpu[:2], 0.8, on_cpu[2], entropy=True)
    got = A.attention_moments(*on_gpu[:2], 0.8, on_gpu[2], entropy=True, backend="fused")
    for one, reference in zip(got, wanted, strict=True):
        assert torch.allclose(one.cpu().double(), reference, atol=2e-5)
    wanted_grads = torch.autograd.grad(sum(p.sin().sum() for p in wanted), on_cpu)
    got_grads = torch.autograd.grad(sum(p.sin().sum() for p in got), on_gpu)
    limit = 5e-5 if dtype == torch.float32 else 1e-2
    for one, reference in zip(got_grads, wanted_grads, strict=True):
        assert (one.cpu().double() - reference).norm() <= limit * reference.norm()
