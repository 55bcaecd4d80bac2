"""All losses over masked records against the whole map in float64; hidden garments cost nothing."""

import pytest
import torch

from vtonlab.ops.attention_backend import attention_backend
from vtonlab.registry import ATTENTION_LOSSES
from vtonlab.structures import AttentionRecord, Correspondences

GRID, HEADS, SIZE, CONTEXT = (4, 3), 2, 8, 5
LOSSES = {
    "regression": dict(type="CorrespondenceDistillationLoss", normalization="joint"),
    "cross-entropy": dict(
        type="CorrespondenceDistillationLoss", form="cross_entropy", normalization="joint"
    ),
    "entropy": dict(type="AttentionEntropyLoss"),
    "entropy per head": dict(type="AttentionEntropyLoss", head_reduction="none"),
    "keypoints": dict(type="KeypointAttentionLoss"),
    "flow": dict(type="AttentionFlowLoss"),
    "variation": dict(type="AttentionTVLoss"),
    "correlation": dict(type="CorrelationRegularizationLoss", truth="correspondences"),
    "mean logit": dict(type="CorrespondenceDistillationLoss", head_reduction="mean_logit"),
}
# Float32 against float64 over 12 keys of 8 channels: some tens of roundings of 6e-8.
CLOSE = dict(rtol=1e-5, atol=1e-5)


def make_batch(dtype):
    g = torch.Generator().manual_seed(0)
    person, garment = torch.rand(2, 2, 3, 32, 24, generator=g).to(dtype)
    mask = torch.ones(2, 1, 32, 24, dtype=dtype)
    points = torch.rand(2, 2, 9, 2, generator=g).numpy()
    matches = [Correspondences(*pair, torch.ones(9).numpy()) for pair in points]
    return dict(
        person=person, garment=garment, worn_mask=mask, garment_mask=mask, mask=mask,
        correspondences=matches, id=["a", "b"],
    )  # fmt: skip


def make_record(dtype, key_mask=None, context_mask=None):
    g = torch.Generator().manual_seed(1)
    shapes = ((2, HEADS, n, SIZE) for n in (12, 12, CONTEXT))
    query, key, context = (torch.randn(s, generator=g).to(dtype).requires_grad_() for s in shapes)
    return AttentionRecord(
        name="block", query=query, key=key, query_grid=GRID, key_grid=GRID, scale=0.4,
        context_key=context, key_mask=key_mask, context_mask=context_mask,
    )  # fmt: skip


def make_masks(kind):
    g = torch.Generator().manual_seed(2)
    masks = [torch.rand(2, n, generator=g) < 0.7 for n in (12, CONTEXT)]
    if kind == "additive":
        masks = [torch.randn(m.shape, generator=g).masked_fill(~m, -1e9) for m in masks]
    return masks


def run(loss, dtype, masks, timesteps=(100.0, 200.0)):
    """Loss, monitors, and the gradients of query, key and context."""
    record = make_record(dtype, *masks)
    module = ATTENTION_LOSSES.build(dict(loss))
    result = module([record], make_batch(dtype), timesteps=torch.tensor(timesteps), step=0)
    tensors = record.query, record.key, record.context_key
    grads = torch.autograd.grad(result["loss"], tensors, allow_unused=True)
    grads = [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, grads, strict=True)]
    return result, grads


@pytest.mark.parametrize("kind", ["bool", "additive"])
@pytest.mark.parametrize("name", LOSSES)
def test_against_the_map_in_float64(name, kind):
    masks = make_masks(kind)
    result, grads = run(LOSSES[name], torch.float32, masks)
    with attention_backend("materialised"):
        wanted, references = run(LOSSES[name], torch.float64, masks)
    for key, value in wanted.items():
        torch.testing.assert_close(result[key].double(), value.double(), **CLOSE)
    for grad, reference in zip(grads, references, strict=True):
        torch.testing.assert_close(grad.double(), reference, **CLOSE)
    bare = run(LOSSES[name], torch.float32, (None, None))[0]
    assert not torch.allclose(bare["loss"], result["loss"], rtol=1e-3)


@pytest.mark.parametrize("hide", ["one sample", "all"])
@pytest.mark.parametrize("kind", ["bool", "additive"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_hidden_garment_is_a_clear_zero(name, kind, hide):
    """Of a sample whose garment nobody may look at, padded whole or not."""
    masks = make_masks(kind)
    hidden = slice(1, 2) if hide == "one sample" else slice(None)
    for mask in masks:
        mask[hidden] = False if kind == "bool" else torch.finfo(torch.float32).min
    result, grads = run(LOSSES[name], torch.float32, masks)
    assert all(torch.isfinite(value).all() for value in result.values())
    assert all(torch.isfinite(g).all() and (g[hidden] == 0).all() for g in grads)
    if hide == "all":
        assert result["loss"] == 0 and result["garment_mass"] <= 1
        return
    wanted, references = run(LOSSES[name], torch.float32, masks, timesteps=(100.0, 1e9))
    if "t_max" not in LOSSES[name] and name in ("regression", "cross-entropy", "keypoints"):
        assert torch.equal(result["loss"], wanted["loss"])  # as a sample outside its gate
        assert torch.equal(grads[0], references[0])
    assert result["loss"] > 0
