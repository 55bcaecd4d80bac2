"""The Triton kernels played on the CPU by Triton's interpreter, against the whole map in float64.

New memory is NaN, and what is read or written outside of the tensors fails (`kernel_guard`). What a
compiler makes of the kernels is told by tools/gpu_card.py alone.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from kernel_guard import interpret

import vtonlab.ops
from vtonlab.ops import attention_kernel_pass as kernels
from vtonlab.ops.attention import attention_moments
from vtonlab.ops.attention_backend import attention_backend, choose_backend
from vtonlab.ops.attention_mask import key_bias
from vtonlab.structures import AttentionRecord

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton")
# A few dozen float32 sums; gradients of float16 operands end in two roundings of 2^-11, those of
# bfloat16 in three of 2^-9.
LIMITS = {torch.float32: (1e-5, 5e-5), torch.float16: (1e-5, 2e-3), torch.bfloat16: (1e-5, 8e-3)}
MODULE = "vtonlab.ops.attention_kernels"


@pytest.fixture(scope="module")
def interpreter():
    """The kernels read anew, for the interpreter: others may have read them before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        patch.delitem(sys.modules, MODULE, raising=False)
        patch.delattr(vtonlab.ops, "attention_kernels", raising=False)
        kernels._interpreted.cache_clear()
        interpret(patch)
        yield
        sys.modules.pop(MODULE, None)
        vars(vtonlab.ops).pop("attention_kernels", None)
    kernels._interpreted.cache_clear()


@pytest.fixture
def interpreted(monkeypatch, interpreter):
    """Kernels are played, on new memory that is NaN; the averaged map is cut into pieces."""
    monkeypatch.setenv("VTONLAB_ATTENTION_KERNELS", "1")
    monkeypatch.setattr(kernels, "MAP_ELEMENTS", 1 << 9)
    for table in (kernels.HALF, kernels.FULL):
        for name in table:
            monkeypatch.setitem(table[name], 64, kernels.Blocks(64, 64, 4, 1))
    strict = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(strict)


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_one_pass(dtype, interpreted):
    query, key = given = operands(dtype)
    values = torch.rand(70, 2, generator=torch.Generator().manual_seed(2))
    with attention_backend("kernels"):
        found = attention_moments(query, key, 0.3, values, entropy=True)
    exact = [t.detach().double().requires_grad_() for t in given]
    score = 0.3 * exact[0] @ exact[1].mT
    prob = score.softmax(-1)
    wanted = (prob @ values.double(), score.logsumexp(-1), -(prob * prob.log()).sum(-1))
    check(found, wanted, given, exact, dtype)


def test_map_averaged_over_heads(interpreted):
    """Its entropy too, whose backward pass goes over pieces of the map; some keys are hidden."""
    given = operands(torch.float32)
    seen = torch.rand(1, 70, generator=torch.Generator().manual_seed(3)) > 0.2
    values = torch.rand(1, 70, 2, generator=torch.Generator().manual_seed(2))
    bias = key_bias(seen, torch.float64)
    found = kernels.kernel_head_mean(*given, values, 0.3, True, bias)
    exact = [t.detach().double().requires_grad_() for t in given]
    score = 0.3 * exact[0] @ exact[1].mT
    mean = score.masked_fill(~seen[:, None, None], -torch.inf).softmax(-1).mean(1)
    logs = mean.clamp_min(1e-300).log()
    check(found, (mean @ values.double(), -(mean * logs).sum(-1)), given, exact, torch.float32)


@pytest.mark.parametrize("size", [16, 24])
def test_panels_of_a_joint_sequence(size, interpreted):
    """Views of one sequence of FLUX's layout, amid NaN: 47 queries, 48 keys, 33 others."""
    generator = torch.Generator().manual_seed(0)
    joint = torch.full((2, 1, 140, 2, size + 8), torch.nan, dtype=torch.bfloat16)
    drawn = torch.randn(2, 1, 128, 2, size, generator=generator)
    joint[:, :, 5:133, :, :size] = drawn.bfloat16()
    joint.requires_grad_()
    query, key = (t.transpose(1, 2)[..., :size] for t in joint)  # (1, 2, 140, D)
    record = AttentionRecord(
        name="layer", query=query[:, :, 5:52], key=key[:, :, 52:100], query_grid=(1, 47),
        key_grid=(6, 8), scale=0.4, context_key=key[:, :, 100:133],
    )  # fmt: skip
    assert choose_backend(record.query, record.key) == "kernels"
    assert record.query.stride() == (140 * 2 * (size + 8), size + 8, 2 * (size + 8), 1)
    points = torch.rand(48, 2, generator=generator)
    average = record.mean_map_moments(entropy=True)
    found = record.mean_of(points), record.garment_mass(), average.entropy
    exact = joint.detach().double().requires_grad_()
    query, key = (t.transpose(1, 2)[..., :size] for t in exact)
    score = 0.4 * query[:, :, 5:52] @ key[:, :, 52:133].mT
    prob, mean = score[..., :48].softmax(-1), score[..., :48].softmax(-1).mean(1)
    mass = score.softmax(-1)[..., :48].sum(-1)
    wanted = prob @ points.double(), mass, -(mean * mean.log()).sum(-1)
    check(found, wanted, [joint], [exact], torch.bfloat16)


def test_only_where_they_are_asked_for(interpreted, monkeypatch):
    given = operands(torch.float32)
    assert choose_backend(*given) == "kernels"
    monkeypatch.delenv("VTONLAB_ATTENTION_KERNELS")
    assert choose_backend(*given) == "fused"
    assert choose_backend(*given, "kernels") == "kernels"


def instructions(wanted, tmp_path) -> list[tuple[int, int]]:
    """Instructions (warp groups', warps') of kernels built for Hopper, see `build_kernels`."""
    root = Path(__file__).parents[2]
    script, source = root / "tests/build_kernels.py", root / "vtonlab/ops/attention_kernels.py"
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path), "TRITON_INTERPRET": "0"}
    command = [sys.executable, "-W", "ignore", str(script), json.dumps([str(source), wanted])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_hopper_gets_no_warp_group_instructions(tmp_path):
    """Small ones of these are built wrong by Triton 3.6 (see `TWO_WARPS`)."""
    name = "backward_query"
    wanted = [(name, 16, table[name][64], {}) for table in (kernels.HALF, kernels.TWO_WARPS)]
    (before, _), (none, others) = instructions(wanted, tmp_path)
    assert before > 0 and none == 0 and others > 0
    warps = {b.warps for table in kernels.TWO_WARPS.values() for b in table.values()}
    assert warps == {2} and kernels.TWO_WARPS.keys() == kernels.HALF.keys()


@pytest.mark.slow
def test_hopper_gets_none_in_any_kernel(tmp_path):
    wanted = []
    for name, table in kernels.TWO_WARPS.items():
        average = name == "backward_query_average"
        kernel = name.removesuffix("_average") if average else name
        for values in ({"COLUMNS": 0, "FEW": 2}, {"COLUMNS": 16, "FEW": 0}):
            for size in (16, 64, 128, 256):
                flags = values | {"AVERAGE": average}
                wanted.append((kernel, size, table[max(64, size)], flags))
    assert all(groups == 0 and warps > 0 for groups, warps in instructions(wanted, tmp_path))
