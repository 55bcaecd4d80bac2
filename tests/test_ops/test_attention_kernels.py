"""The Triton kernels played on the CPU by Triton's interpreter, against the whole map in float64.

bfloat16, and with it more values than `FEW_VALUES`, is left to tools/gpu_card.py: the interpreter
multiplies it as whole numbers.
"""

import sys
from importlib.util import find_spec

import pytest
import torch

from vtonlab.ops import attention_kernel_pass as kernels
from vtonlab.ops.attention import attention_moments
from vtonlab.ops.attention_backend import attention_backend, choose_backend
from vtonlab.ops.attention_mask import key_bias

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton")
# A few dozen float32 sums; gradients of float16 operands end in two roundings of 2^-11.
LIMITS = {torch.float32: (1e-5, 5e-5), torch.float16: (1e-5, 2e-3)}


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    """Kernels are read anew, for the interpreter; the averaged map is cut into pieces."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.delitem(sys.modules, "vtonlab.ops.attention_kernels", raising=False)
    monkeypatch.setattr(kernels, "MAP_ELEMENTS", 1 << 9)
    for table in (kernels.HALF, kernels.FULL):
        for name in table:
            monkeypatch.setitem(table[name], 64, kernels.Blocks(64, 64, 4, 1))
    kernels._interpreted.cache_clear()
    yield
    kernels._interpreted.cache_clear()
    sys.modules.pop("vtonlab.ops.attention_kernels", None)


def operands(dtype, queries=130, keys=70, size=24):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(1, 2, count, size, generator=generator).to(dtype).requires_grad_()
        for count in (queries, keys)
    ]


def relative(found, wanted) -> float:
    return float((found.detach().double() - wanted.detach()).norm() / wanted.detach().norm())


def check(found, wanted, operands, exact, dtype) -> None:
    """Answers and their gradients for drawn upstream gradients."""
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(w.shape, generator=generator, dtype=torch.float64) for w in wanted]
    values, gradients = LIMITS[dtype]
    assert all(relative(f, w) <= values for f, w in zip(found, wanted, strict=True))
    theirs = torch.autograd.grad(wanted, exact, upstream)
    ours = torch.autograd.grad(found, operands, [u.float() for u in upstream])
    assert all(relative(o, t) <= gradients for o, t in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("dtype", LIMITS)
def test_one_pass(dtype):
    query, key = given = operands(dtype)
    values = torch.rand(70, 2, generator=torch.Generator().manual_seed(2))
    assert choose_backend(query, key, values=values) == "kernels"
    with attention_backend("kernels"):
        found = attention_moments(query, key, 0.3, values, entropy=True)
    exact = [t.detach().double().requires_grad_() for t in given]
    score = 0.3 * exact[0] @ exact[1].mT
    prob = score.softmax(-1)
    wanted = (prob @ values.double(), score.logsumexp(-1), -(prob * prob.log()).sum(-1))
    check(found, wanted, given, exact, dtype)


@pytest.mark.parametrize("dtype", LIMITS)
def test_map_averaged_over_heads(dtype):
    """Its entropy too, whose backward pass goes over pieces of the map; some keys are hidden."""
    given = operands(dtype)
    seen = torch.rand(1, 70, generator=torch.Generator().manual_seed(3)) > 0.2
    values = torch.rand(1, 70, 2, generator=torch.Generator().manual_seed(2))
    bias = key_bias(seen, torch.float64)
    found = kernels.kernel_head_mean(*given, values, 0.3, True, bias)
    exact = [t.detach().double().requires_grad_() for t in given]
    score = 0.3 * exact[0] @ exact[1].mT
    mean = score.masked_fill(~seen[:, None, None], -torch.inf).softmax(-1).mean(1)
    logs = mean.clamp_min(1e-300).log()
    check(found, (mean @ values.double(), -(mean * logs).sum(-1)), given, exact, dtype)
