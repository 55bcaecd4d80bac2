"""Masks of a record: what is refused, hidden samples, and that nothing of a map is held."""

import pytest
import torch

from vtonlab.ops.attention_backend import attention_backend
from vtonlab.ops.attention_mask import as_key_mask, mask_of_queries
from vtonlab.structures import AttentionRecord

GRID = (4, 5)


def make(key_mask=None, context_mask=None, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    query, key, context = (
        torch.randn(2, 3, n, 16, generator=g).to(dtype).requires_grad_() for n in (20, 20, 6)
    )
    masks = dict(key_mask=key_mask, context_mask=context_mask)
    return AttentionRecord(
        name="block", query=query, key=key, query_grid=GRID, key_grid=GRID, scale=0.25,
        context_key=context, **masks,
    )  # fmt: skip


@pytest.mark.parametrize("backend", ["fused", "chunked", "materialised"])
@pytest.mark.parametrize("hidden", [False, -1e30, torch.finfo(torch.float32).min, -torch.inf])
def test_a_hidden_garment_has_no_mass_and_finite_answers(backend, hidden):
    bare = torch.ones(2, 20, dtype=torch.bool) if hidden is False else torch.zeros(2, 20)
    mask = bare.clone()
    mask[1] = hidden
    record, other = make(mask), make()
    assert record.has_garment.tolist() == [True, False] and other.has_garment is None
    with attention_backend(backend):
        mass = record.garment_mass()
        answers = [mass, record.entropy(), record.mean_map_entropy(), record.logsumexp()]
        answers.append(record.mean_of(torch.rand(20, 2)))
        expected = other.entropy()[0]
        sum(answer[0].sum() + 0.0 * answer.sum() for answer in answers).backward()
    assert all(torch.isfinite(answer).all() for answer in answers)
    assert (mass[1] == 0).all()
    # float32 at scores of a few units: both are the same sums, in another order at most
    torch.testing.assert_close(answers[1][0], expected, rtol=1e-5, atol=1e-5)
    assert torch.isfinite(record.query.grad).all() and (record.query.grad[1] == 0).all()


def test_hidden_context_leaves_the_garment_everything():
    record = make(context_mask=torch.zeros(2, 6, dtype=torch.bool))
    assert torch.equal(record.garment_mass(), torch.ones(2, 3, 20))
    sink = torch.zeros(3, 1, 16)
    assert (record.garment_mass(sink) < 1).all()


def test_what_a_place_sees():
    mask = torch.ones(2, 20, dtype=torch.bool)
    mask[0, 3] = False
    sample, key = torch.tensor([0, 0, 1]), torch.tensor([2, 3, 3])
    assert make(mask).sees(sample, key).tolist() == [True, False, True]
    assert make((~mask) * -1e9).sees(sample, key).tolist() == [True, False, True]
    assert make().sees(sample, key).all()


@pytest.mark.parametrize("name", ["key_mask", "context_mask"])
def test_masks_of_another_shape_are_refused(name):
    with pytest.raises(ValueError, match=rf"{name} \(2, 3, 20\) must be \(B, keys\)"):
        make(**{name: torch.ones(2, 3, 20, dtype=torch.bool)})


def test_masks_of_the_kernel_that_are_of_keys_alone():
    sizes = 2, 3, 5, 7
    keys = torch.rand(2, 7) > 0.5
    for mask in (
        keys[:, None, None],
        keys[:, None, None].expand(2, 3, 5, 7),
        keys[:, None, None].expand(2, 3, 5, 7).contiguous(),  # written out
    ):
        assert torch.equal(as_key_mask(mask, *sizes), keys)
        hides = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
        assert torch.equal(as_key_mask(hides, *sizes), keys)  # additive, but only hides
    assert torch.equal(as_key_mask(keys[:1, None, None], *sizes), keys[:1].expand(2, 7))
    graded = torch.randn(2, 1, 1, 7)
    assert torch.equal(as_key_mask(graded, *sizes), graded[:, 0, 0])
    assert as_key_mask(torch.randn(1, 3, 1, 7), *sizes) is None  # a bias of heads


def test_masks_that_differ_between_queries_are_taken_where_they_agree():
    seen = torch.tensor([True, True, False, True])
    both = (seen[:, None] & seen[None]).expand(2, 1, 4, 4)  # padded queries see nothing
    mask = as_key_mask(both, 2, 3, 4, 4)
    assert mask.shape == (2, 4, 4)
    assert torch.equal(mask_of_queries(mask, torch.tensor([0, 3])), seen.expand(2, 4))
    with pytest.raises(ValueError, match="differs between the person's queries"):
        mask_of_queries(mask, torch.tensor([0, 2]))
    assert mask_of_queries(None, torch.tensor([0])) is None
