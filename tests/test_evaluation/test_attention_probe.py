"""The map block x sigma: an aligned block is named, counts equal loops, correlations scipy's."""

import numpy as np
import pytest
import torch
from scipy import stats

from vtonlab.evaluation.attention_probe import AttentionProbe, correlations, truth_of
from vtonlab.structures import AttentionRecord, Correspondences, FlowField

GRID, SIGMAS = (4, 3), (0.2, 0.5, 0.8)
NAMES = ["blocks.0.attn", "blocks.1.attn", "blocks.2.attn"]


def batch_of(numbers=(0, 1, 2)):
    flows = []
    for number in numbers:
        generator = torch.Generator().manual_seed(number)
        flow = torch.rand(*GRID, 2, generator=generator)
        flows.append(FlowField(flow, torch.rand(*GRID, generator=generator) < 0.7))
    return dict(id=[f"p{n}" for n in numbers], flow=flows)


class Blocks:
    """Random attention in every block; ``aligned`` looks at the truth at one noise level."""

    def __init__(self, aligned=None, sigma=None):
        self.aligned, self.sigma = aligned, sigma

    def attention_records(self, batch, sigma, layers):
        size, keys = len(batch["id"]), GRID[0] * GRID[1]
        records = []
        for place, name in enumerate(NAMES):
            generator = torch.Generator().manual_seed(place)
            query = torch.randn(size, 2, keys, keys, generator=generator)
            key = torch.eye(keys).expand(size, 2, keys, keys)
            if name == self.aligned and sigma == self.sigma:
                query = torch.stack([self.aim(flow) for flow in batch["flow"]])[:, None]
                query = query.expand(size, 2, keys, keys)
            record = AttentionRecord(
                name=name, query=query, key=key, query_grid=GRID, key_grid=GRID, scale=1.0
            )
            records.append(record)
        return records

    def aim(self, flow):
        points, _ = flow.to_grid(GRID)
        column = (points[:, 0] * GRID[1]).long().clamp(0, GRID[1] - 1)
        row = (points[:, 1] * GRID[0]).long().clamp(0, GRID[0] - 1)
        return 20.0 * torch.eye(GRID[0] * GRID[1])[row * GRID[1] + column]


def probed(model, batches):
    probe = AttentionProbe(SIGMAS)
    for batch in batches:
        probe.add(model, batch, ["*"])
    return probe


@pytest.mark.parametrize(("name", "sigma"), [(NAMES[1], 0.5), (NAMES[2], 0.8)])
def test_the_one_aligned_block_is_named(name, sigma):
    probe = probed(Blocks(name, sigma), [batch_of((0, 1)), batch_of((2,))])
    assert probe.best() == (name, sigma, 1.0)
    table = probe.table("right")
    assert table.shape == (3, 3) and (np.sort(table.ravel())[:-1] < 0.6).all()
    row, column = NAMES.index(name), SIGMAS.index(sigma)
    entropy = probe.table("entropy")
    assert entropy[row, column] == entropy.min() < 0.01
    np.testing.assert_allclose(probe.table("mass"), 1.0, atol=1e-6)  # nothing but the garment


def test_counts_equal_loops():
    model, batch = Blocks(), batch_of()
    probe = probed(model, [batch])
    for row, record in enumerate(model.attention_records(batch, 0.5, ["*"])):
        right = total = entropy = 0.0
        for place, flow in enumerate(batch["flow"]):
            points, valid = flow.to_grid(GRID)
            probs = record.probs()[place].double().mean(0)
            for query in valid.nonzero()[:, 0].tolist():
                x = probs[query].argmax().item() % GRID[1] + 0.5
                y = probs[query].argmax().item() // GRID[1] + 0.5
                off = max(
                    abs(x - points[query, 0].item() * GRID[1]),
                    abs(y - points[query, 1].item() * GRID[0]),
                )
                right, total = right + (off <= 1 + 1e-6), total + 1
                entropy -= (probs[query] * probs[query].log()).sum().item()
        assert probe.table("right")[row, 1] == pytest.approx(right / total)
        assert probe.table("entropy")[row, 1] == pytest.approx(
            entropy / total / np.log(12), rel=1e-5
        )
    assert probe.as_dict()["queries"] == sum(int(f.to_grid(GRID)[1].sum()) for f in batch["flow"])


def test_a_matchers_correspondences_serve_where_no_flow_is_known():
    batch = batch_of((0,))
    centres = (torch.tensor([[0, 0], [2, 3]]) + 0.5) / torch.tensor([3, 4])
    matches = Correspondences(centres, centres.flip(0), torch.ones(2))
    index, truth = truth_of(dict(correspondences=[matches]), 0, GRID)
    assert index.tolist() == [0, 11]
    torch.testing.assert_close(truth, centres.flip(0))
    probe = probed(Blocks(), [dict(id=["p"], correspondences=[matches])])
    assert probe.as_dict()["queries"] == 2
    with pytest.raises(ValueError, match="'garment' needs a truth: flow or"):
        probed(Blocks(), [dict(id=batch["id"])])
    none = dict(id=["p"], correspondences=[Correspondences.empty()])
    with pytest.raises(ValueError, match="no pair has a single query"):
        probed(Blocks(), [none]).best()


def test_records_of_another_reference_are_measured_by_its_own_truth():
    """Keys of the photograph of somebody who wears it: its flow, not that of the flat garment."""

    class Worn(Blocks):
        def attention_records(self, batch, sigma, layers):
            records = super().attention_records(dict(batch, flow=batch["flow_worn"]), sigma, layers)
            for record in records:
                record.reference = "worn"
            return records

    batch = batch_of((0, 1)) | dict(flow_worn=batch_of((5, 6))["flow"])
    probe = probed(Worn(NAMES[1], 0.5), [batch])
    assert probe.best() == (NAMES[1], 0.5, 1.0)
    expected = sum(int(flow.to_grid(GRID)[1].sum()) for flow in batch["flow_worn"])
    assert probe.as_dict()["queries"] == expected
    with pytest.raises(ValueError, match="'worn' needs a truth: flow_worn or correspondences_worn"):
        truth_of(batch_of((0,)), 0, GRID, "worn")


def test_pck_of_pairs_is_nan_without_queries():
    empty = dict(id=["none"], flow=[FlowField(torch.rand(*GRID, 2), torch.zeros(GRID).bool())])
    probe = probed(Blocks(NAMES[0], 0.2), [batch_of((0,)), empty])
    pck = probe.pck_of_pairs(NAMES[0], 0.2)
    assert pck[0] == 1.0 and np.isnan(pck[1])


def test_correlations_equal_scipy():
    rng = np.random.default_rng(0)
    pck = rng.random(40)
    lpips = -0.4 * pck + 0.3 * rng.random(40)
    pck[3] = np.nan
    found = correlations(pck, dict(lpips=lpips, flat=np.ones(40)))
    keep = np.isfinite(pck)
    expected = stats.pearsonr(pck[keep], lpips[keep])
    interval = expected.confidence_interval(0.95)
    assert found["lpips"]["r"] == pytest.approx(expected.statistic)
    assert found["lpips"]["low"] == pytest.approx(interval.low, abs=1e-4)
    assert found["lpips"]["high"] == pytest.approx(interval.high, abs=1e-4)
    assert found["lpips"]["pairs"] == 39
    assert found["flat"]["r"] is None
