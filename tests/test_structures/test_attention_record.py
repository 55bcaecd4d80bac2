"""Every answer of AttentionRecord against the naive formula in float64, value and gradient."""

import math
import pickle
import subprocess
import sys
import weakref

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vtonlab.ops.attention import AttentionPass
from vtonlab.ops.attention_backend import attention_backend
from vtonlab.structures import AttentionRecord

FLOAT32_VALUE = 2e-5  # times max(1, |logsumexp|, log Nk)
FLOAT32_GRAD = 5e-5  # of the gradient's norm
FLOAT64 = 1e-9


# --- the definitions, spelled out over the whole map ------------------------------------------


def naive_score(query, key, scale, temperature, mask=None):
    score = scale / temperature * torch.einsum("bhnd,bhmd->bhnm", query, key)
    if mask is None:
        return score
    if mask.dtype == torch.bool:
        return score.masked_fill(~mask[:, None, None], -1e30)
    return score + mask.double()[:, None, None] / temperature


def naive_entropy(prob):
    return -(prob * prob.clamp_min(1e-300).log()).sum(-1)


def naive_answers(tensors, scale, temperature, places, rows, masks=(None, None)):
    """Name -> value, from tensors (query, key, values, context, sink), the last two maybe None, and
    masks of keys and context.
    """
    query, key, values, context, sink = tensors
    score = naive_score(query, key, scale, temperature, masks[0])
    prob, log_prob = score.softmax(-1), score.log_softmax(-1)
    values = values.expand(len(query), *values.shape[-2:])
    mean_map = prob.mean(1)  # (B, Nq, Nk)
    entropy = naive_entropy(mean_map)
    mean = torch.einsum("bhnm,bmc->bhnc", prob, values)
    groups = [score]
    if context is not None:
        groups.append(naive_score(query, context, scale, temperature, masks[1]))
    if sink is not None:
        sink = sink.expand(len(query), *sink.shape[-3:])
        groups.append(naive_score(query, sink, scale, temperature))
    full = torch.cat(groups, -1).softmax(-1)
    return {
        "mean_of": mean,
        "logsumexp": score.logsumexp(-1),
        "entropy": -(prob * log_prob).sum(-1),
        "mean_map_entropy": entropy,
        "mean_map_entropy_rows": entropy[rows],
        "mean_map_mean_rows": mean.mean(1)[rows],
        "log_prob": log_prob[places[0], :, places[1], places[2]],
        "garment_mass": full[..., : key.shape[2]].sum(-1),
        "probs": prob,
    }


def record_answers(record, tensors, temperature, places, rows):
    values, sink = tensors[2], tensors[4]
    some = record.mean_map_moments(values, entropy=True, temperature=temperature, rows=rows)
    return {
        "mean_of": record.mean_of(values, temperature=temperature),
        "logsumexp": record.logsumexp(temperature=temperature),
        "entropy": record.entropy(temperature=temperature),
        "mean_map_entropy": record.mean_map_entropy(temperature=temperature),
        "mean_map_entropy_rows": some.entropy,
        "mean_map_mean_rows": some.mean,
        "log_prob": record.log_prob(*places, temperature=temperature),
        "garment_mass": record.garment_mass(sink, temperature=temperature),
        "probs": record.probs(temperature=temperature),
    }


# --- cases ----------------------------------------------------------------------------------


@st.composite
def cases(draw):
    return {
        "batch": draw(st.integers(1, 2)),
        "heads": draw(st.integers(1, 4)),
        "query_grid": (draw(st.integers(1, 7)), draw(st.integers(1, 6))),
        "key_grid": (draw(st.integers(1, 7)), draw(st.integers(2, 8))),
        "head_size": draw(st.integers(2, 20)),
        "channels": draw(st.integers(1, 24)),
        "batched_values": draw(st.booleans()),
        "context": draw(st.integers(0, 9)),
        "sinks": draw(st.integers(0, 3)),
        "batched_sinks": draw(st.booleans()),
        "temperature": draw(st.sampled_from([0.5, 1.0, 2.0, 7.0])),
        "logits": draw(st.sampled_from([0.1, 1.0, 5.0, 20.0, 100.0])),
        "cosine": draw(st.booleans()),
        "backend": draw(st.sampled_from(["fused", "chunked"])),
        "mask": draw(st.sampled_from(["none", "bool", "additive"])),
        "seed": draw(st.integers(0, 2**20)),
    }


def draw_tensors(case, dtype):
    """Leaves (query, key, values, context, sink) in float64 whose values `dtype` holds exactly."""
    g = torch.Generator().manual_seed(case["seed"])
    nq, nk = math.prod(case["query_grid"]), math.prod(case["key_grid"])
    b, h, d = case["batch"], case["heads"], case["head_size"]

    def features(*shape):
        x = torch.randn(*shape, d, generator=g)
        return x / x.norm(dim=-1, keepdim=True) if case["cosine"] else x / d**0.25

    values = torch.randn(
        *([b] if case["batched_values"] else []), nk, case["channels"], generator=g
    )
    sink_shape = ([b] if case["batched_sinks"] else []) + [h, case["sinks"]]
    tensors = [
        features(b, h, nq),
        features(b, h, nk),
        values,
        features(b, h, case["context"]) if case["context"] else None,
        features(*sink_shape) if case["sinks"] else None,
    ]
    tensors = [None if t is None else t.to(dtype).double() for t in tensors]
    places = [torch.randint(n, (40,), generator=g) for n in (b, nq, nk)]
    rows = tuple(torch.randint(n, (25,), generator=g) for n in (b, nq))
    return tensors, places, rows


def draw_masks(case, dtype):
    """Masks (B, Nk) and (B, Nc) or None; each sample sees a garment key, the context may be all
    hidden.
    """
    if case["mask"] == "none":
        return None, None
    g = torch.Generator().manual_seed(case["seed"] + 1)
    counts = math.prod(case["key_grid"]), case["context"]
    seen = [torch.rand(case["batch"], n, generator=g) < 0.6 for n in counts]
    seen[0][:, -1] = True
    if case["mask"] == "additive":
        hidden = [-1e9, -1e4][case["seed"] % 2]
        for place, mask in enumerate(seen):
            graded = torch.randn(mask.shape, generator=g).to(dtype)
            seen[place] = graded.masked_fill(~mask, hidden)
    return seen[0], seen[1] if case["context"] else None


def leaves(tensors, dtype):
    return [None if t is None else t.detach().to(dtype).requires_grad_() for t in tensors]


def build(case, tensors, scale, masks=(None, None)):
    return AttentionRecord(
        key_mask=masks[0],
        context_mask=masks[1],
        name="block",
        query=tensors[0],
        key=tensors[1],
        query_grid=case["query_grid"],
        key_grid=case["key_grid"],
        scale=scale,
        context_key=tensors[3],
    )


def gradients(answer, tensors, upstream):
    given_ = [t for t in tensors if t is not None]
    if not answer.requires_grad:
        return [torch.zeros_like(t) for t in given_]
    grads = torch.autograd.grad(answer, given_, upstream, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(t) if g is None else g for g, t in zip(grads, given_, strict=True)]


def compare(case, dtype):
    tensors, places, rows = draw_tensors(case, dtype)
    scale, temperature = case["logits"] * case["temperature"], case["temperature"]
    masks = draw_masks(case, dtype)
    if masks[0] is not None:  # the logarithm of a hidden key's attention is no number to compare
        seen = masks[0] if masks[0].dtype == torch.bool else masks[0] > -1e3
        places[2] = torch.where(seen[places[0], places[2]], places[2], seen.shape[1] - 1)
    exact = leaves(tensors, torch.float64)
    tested = leaves(tensors, dtype)
    wanted = naive_answers(exact, scale, temperature, places, rows, masks)
    with attention_backend(case["backend"]):
        record = build(case, tested, scale, masks)
        got = record_answers(record, tested, temperature, places, rows)
    size = (
        wanted["logsumexp"].abs().max().clamp_min(max(1.0, math.log(math.prod(case["key_grid"]))))
    )
    g = torch.Generator().manual_seed(1)
    for name, want in wanted.items():
        value = got[name]
        assert value.shape == want.shape, name
        error = (value.detach().double() - want.detach()).abs().max()
        limit = FLOAT64 if dtype == torch.float64 else FLOAT32_VALUE * size
        assert error <= limit, (name, float(error), float(limit))
        if "entropy" in name:
            assert (value >= 0).all(), name
        upstream = torch.randn(want.shape, generator=g, dtype=torch.float64)
        references = gradients(want, exact, upstream)
        results = gradients(value, tested, upstream.to(value.dtype))
        for reference, result in zip(references, results, strict=True):
            assert torch.isfinite(result).all(), name
            error = (result.double() - reference).norm()
            # Where a map is saturated the true gradient vanishes: a rounding of its terms is left.
            floor = 16 * torch.finfo(dtype).eps * max(1.0, case["logits"]) * upstream.norm()
            relative = FLOAT64 if dtype == torch.float64 else FLOAT32_GRAD
            assert error <= relative * reference.norm() + floor, (name, error, reference.norm())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_float64_matches_the_formulas(case):
    compare(case, torch.float64)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_float32_matches_the_formulas(case):
    compare(case, torch.float32)


def make(dtype=torch.float32, requires_grad=True, scale=0.4, batch=2, context=3, seed=0):
    g = torch.Generator().manual_seed(seed)

    def tensor(tokens):
        x = torch.randn(batch, 3, tokens, 8, generator=g, dtype=torch.float64).to(dtype)
        return x.requires_grad_(requires_grad)

    return AttentionRecord(
        name="block",
        query=tensor(12),
        key=tensor(20),
        query_grid=(3, 4),
        key_grid=(5, 4),
        scale=scale,
        context_key=tensor(context) if context else None,
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_raised_before_anything_is_summed(dtype):
    half = make(dtype)
    full = make(dtype)
    full.query, full.key = (t.detach().float().requires_grad_() for t in (full.query, full.key))
    values = torch.rand(20, 2)
    for name in ("entropy", "logsumexp", "mean_map_entropy", "garment_mass"):
        got, want = getattr(half, name)(), getattr(full, name)()
        assert got.dtype == torch.float32
        assert torch.equal(got, want)
    mean = half.mean_of(values.to(dtype))
    assert mean.dtype == torch.float32
    mean.sum().backward()
    assert half.query.grad.dtype == dtype


def test_autocast_changes_nothing():
    record, values = make(), torch.rand(20, 2)
    places = (torch.tensor([0, 1]), torch.tensor([3, 4]), torch.tensor([5, 6]))

    def answers():
        return [
            record.mean_of(values),
            record.entropy(),
            record.mean_map_entropy(),
            record.garment_mass(),
            record.log_prob(*places),
            record.mean_map(),
        ]

    plain = answers()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = answers()
        grad_cast = torch.autograd.grad(cast[2].sum(), record.query)[0]
    grad_plain = torch.autograd.grad(plain[2].sum(), record.query)[0]
    assert all(torch.equal(a, b) for a, b in zip(plain, cast, strict=True))
    assert torch.equal(grad_plain, grad_cast)


@pytest.mark.parametrize("backend", ["fused", "chunked"])
@pytest.mark.parametrize("logits", [1e2, 1e3, 1e4])
def test_very_sharp_maps_keep_a_right_entropy(backend, logits):
    record = make(scale=logits, context=0)
    with attention_backend(backend):
        for got, average in ((record.entropy(), False), (record.mean_map_entropy(), True)):
            prob = (logits * (record.query.double() @ record.key.double().mT)).softmax(-1)
            want = naive_entropy(prob.mean(1) if average else prob)
            assert (got >= 0).all()
            assert torch.allclose(got.double(), want, rtol=1e-2, atol=1e-6)
            (grad,) = torch.autograd.grad(got.sum(), record.query)
            (reference,) = torch.autograd.grad(want.sum(), record.query)
            assert torch.isfinite(grad).all()
            assert (grad - reference).norm() <= 2e-2 * reference.norm() + 1e-6


def test_a_peak_against_one_rival_has_the_small_entropy_it_should():
    for gap in (2.0, 10.0, 20.0, 40.0, 80.0):
        query = torch.ones(1, 1, 1, 1, requires_grad=True)
        key = torch.tensor([gap, 0.0]).view(1, 1, 2, 1)
        record = AttentionRecord(
            name="x", query=query, key=key, query_grid=(1, 1), key_grid=(1, 2), scale=1.0
        )
        p = 1.0 / (1.0 + math.exp(gap))  # of the rival
        want = p * math.log1p(math.exp(gap)) - (1 - p) * math.log1p(-p)
        slope = -p * (1 - p) * gap  # dH/dgap
        for entropy in (record.entropy(), record.mean_map_entropy()):
            assert entropy.item() == pytest.approx(want, rel=1e-4)
            (grad,) = torch.autograd.grad(entropy.sum(), query)
            assert grad.item() == pytest.approx(slope * gap, rel=1e-4)


def test_uniform_and_one_hot_maps():
    record = make(scale=0.0, context=0)
    assert torch.allclose(record.entropy(), torch.tensor(math.log(20)))
    assert torch.allclose(record.mean_map_entropy(), torch.tensor(math.log(20)))
    assert torch.equal(record.garment_mass(), torch.ones(2, 3, 12))
    one = AttentionRecord(
        name="x",
        query=record.query,
        key=record.key[:, :, :1],
        query_grid=(3, 4),
        key_grid=(1, 1),
        scale=1.0,
    )
    assert torch.equal(one.entropy(), torch.zeros(2, 3, 12))
    assert torch.equal(one.argmax(), torch.zeros(2, 12, dtype=torch.int64))


def test_argmax_and_mean_map_are_the_head_average():
    record = make(scale=2.0)
    mean_map = record.probs(temperature=3.0).mean(1)
    assert torch.equal(record.argmax(temperature=3.0), mean_map.argmax(-1))
    assert torch.allclose(record.mean_map(temperature=3.0), mean_map, atol=1e-6)
    chosen = torch.tensor([7, 0, 7])
    assert torch.allclose(record.mean_map(chosen, temperature=3.0), mean_map[:, chosen], atol=1e-6)
    assert not record.mean_map().requires_grad


def test_garment_mass_times_given_garment_is_joint_attention():
    record = make(torch.float64)
    keys = torch.cat([record.key, record.context_key], dim=2)
    joint = (record.scale * record.query @ keys.mT).softmax(-1)[..., :20]
    assert torch.allclose(record.garment_mass()[..., None] * record.probs(), joint)


def test_one_pass_says_what_single_questions_say():
    record, values = make(torch.float64), torch.rand(20, 2, dtype=torch.float64)
    joint = record.moments(values, entropy=True)
    assert torch.allclose(joint.mean, record.mean_of(values))
    assert torch.allclose(joint.entropy, record.entropy())
    assert torch.allclose(joint.logsumexp, record.logsumexp())
    total = joint.mean.sum() + joint.entropy.square().sum() + joint.logsumexp.sin().sum()
    apart = record.mean_of(values).sum() + record.entropy().square().sum()
    apart = apart + record.logsumexp().sin().sum()
    for one, two in zip(
        torch.autograd.grad(total, (record.query, record.key)),
        torch.autograd.grad(apart, (record.query, record.key)),
        strict=True,
    ):
        assert torch.allclose(one, two)


def test_questions_can_be_asked_again_after_a_backward():
    record = make()
    for _ in range(2):
        record.entropy().sum().backward()
        record.mean_map_entropy().sum().backward()
        places = (torch.tensor([0]), torch.tensor([1]), torch.tensor([2]))
        record.log_prob(*places).sum().backward()


def count_passes(monkeypatch):
    made = []

    class Counted(AttentionPass):
        def __init__(self, *args, **kwargs):
            made.append(self)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr("vtonlab.structures.attention_record.AttentionPass", Counted)
    return made


def test_questions_share_one_kernel_call(monkeypatch):
    made = count_passes(monkeypatch)
    record = AttentionRecord(
        name="x",
        query=torch.randn(1, 2, 6, 32, requires_grad=True),
        key=torch.randn(1, 2, 4, 32, requires_grad=True),
        query_grid=(2, 3),
        key_grid=(2, 2),
        scale=0.2,
    )
    points = torch.rand(4, 2)
    total = record.mean_of(points).sum() + record.entropy().sum() + record.logsumexp().sum()
    record.mean_of(points), record.garment_mass()
    assert len(made) == 1
    record.mean_of(points.clone())
    record.entropy(temperature=2.0)
    with torch.no_grad():
        assert not record.entropy().requires_grad
    assert len(made) == 4
    total.backward()
    record.entropy().sum().backward()
    assert len(made) == 4
    points += 1.0
    record.mean_of(points)
    assert len(made) == 5
    with torch.no_grad():
        record.query.mul_(0.0)
    assert torch.allclose(record.entropy(), torch.tensor(math.log(4)))


def test_answers_kept_do_not_outlive_the_record():
    record = make()
    query = weakref.ref(record.query)
    record.entropy(), record.mean_of(torch.rand(20, 2))
    del record
    assert query() is None


def test_answers_of_one_kernel_call_are_separate_graphs():
    record, points = make(torch.float64), torch.rand(20, 2, dtype=torch.float64)
    answers = [record.mean_of(points), record.entropy(), record.entropy(), record.logsumexp()]
    for answer in answers:
        answer.sum().backward()
    again = make(torch.float64)
    total = again.mean_of(points).sum() + 2 * again.entropy().sum() + again.logsumexp().sum()
    total.backward()
    assert torch.allclose(record.query.grad, again.query.grad)


def test_a_change_in_place_before_the_backward_is_an_error():
    record = make()
    entropy = record.entropy().sum()
    with torch.no_grad():
        record.key.mul_(2.0)
    with pytest.raises(RuntimeError, match="changed in place"):
        entropy.backward()


def test_no_rows_give_empty_answers_with_a_graph():
    record = make()
    none = torch.zeros(0, dtype=torch.int64)
    answer = record.mean_map_entropy(rows=(none, none)).sum()
    answer.backward()
    assert answer == 0 and torch.equal(record.query.grad, torch.zeros_like(record.query))
    assert record.log_prob(none, none, none).shape == (0, 3)


def test_views_that_are_not_contiguous():
    query = torch.randn(2, 12, 3, 8, dtype=torch.float64).transpose(1, 2)
    key = torch.randn(2, 20, 3, 16, dtype=torch.float64)[..., ::2].transpose(1, 2)
    both = [
        AttentionRecord(name="x", query=q, key=k, query_grid=(3, 4), key_grid=(5, 4), scale=0.5)
        for q, k in ((query, key), (query.contiguous(), key.contiguous()))
    ]
    assert torch.allclose(both[0].entropy(), both[1].entropy())
    assert torch.allclose(both[0].mean_map_entropy(), both[1].mean_map_entropy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": torch.zeros(2, 12, 8)}, "shape"),
        ({"key": torch.zeros(2, 4, 20, 8)}, "agree"),
        ({"context_key": torch.zeros(2, 3, 5, 7)}, "context_key"),
        ({"query_grid": (5, 5)}, "query_grid"),
        ({"key_grid": (3, 4)}, "key_grid"),
    ],
)
def test_what_disagrees_is_named(change, message):
    record = make(requires_grad=False)
    fields = ("name", "query", "key", "query_grid", "key_grid", "scale", "context_key")
    arguments = {name: getattr(record, name) for name in fields}
    with pytest.raises(ValueError, match=message):
        AttentionRecord(**{**arguments, **change})


def test_wrong_values_and_temperatures_are_named():
    record = make()
    with pytest.raises(ValueError, match="Values under attention"):
        record.mean_of(torch.zeros(19, 2))
    with pytest.raises(ValueError, match="temperature"):
        record.entropy(temperature=0.0)
    assert "block" in repr(record)


def test_a_record_travels_by_pickle():
    record = make(requires_grad=False)
    assert torch.equal(pickle.loads(pickle.dumps(record)).entropy(), record.entropy())


MEMORY_SCRIPT = """
import torch
from vtonlab.structures import AttentionRecord

def megabytes(field):
    lines = dict(line.split(":") for line in open("/proc/self/status") if ":" in line)
    return int(lines[field].split()[0]) / 1024

def run(n):
    query, key = (torch.randn(1, 8, n, 40, requires_grad=True) for _ in range(2))
    record = AttentionRecord(
        name="x", query=query, key=key, query_grid=(n // 64, 64), key_grid=(n // 64, 64), scale=0.16
    )
    (record.mean_of(torch.rand(n, 2)).sum() + record.entropy().sum()).backward()

run(64)
idle = megabytes("VmRSS")
run({tokens})
print(megabytes("VmHWM") - idle)
"""


def peak_megabytes(tokens):
    script = MEMORY_SCRIPT.replace("{tokens}", str(tokens))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300
    )
    return float(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_linear_in_tokens():
    half, full = peak_megabytes(6144), peak_megabytes(12288)
    assert full < 300  # one map of 8 heads is 4.8 GB
    assert 1.6 < full / half < 2.4
