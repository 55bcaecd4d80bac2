"""Rules of flows: pixel centres are ops/warp's, corners and fractions are as they are written."""

import pytest
import torch

from vtonlab.ops.flow_arithmetic import FlowArithmetic
from vtonlab.ops.warp import identity_flow, resize_flow, sample_at, token_flow

RELEASED = FlowArithmetic(
    corners=True, row_fraction=True, outside="zeros", shrinking="points", region="correlation"
)


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_pixel_centres_are_what_warp_says():
    rules, flow = FlowArithmetic(), identity_flow((4, 6), random(1)) + 0.1 * random(2, 4, 6, 2)
    picture = random(2, 3, 8, 6)
    assert torch.equal(rules.sample(picture, flow), sample_at(picture, flow))
    finer = resize_flow(flow, (8, 12), "nearest")
    torch.testing.assert_close(rules.finer(flow, (4, 6), (8, 12)), finer, rtol=0, atol=1e-14)
    assert torch.equal(rules.resize(flow, (9, 7)), resize_flow(flow, (9, 7)))
    index = torch.tensor([[0, 5, 23, 7]])
    ours = rules.start(index, (2, 2), (4, 6), flow)
    assert torch.equal(ours, token_flow(index, (2, 2), (4, 6), flow))


@pytest.mark.parametrize("rules", [FlowArithmetic(), RELEASED])
def test_offsets_are_pixels_and_come_back(rules):
    offset = random(2, 2, 5, 4)
    flow = rules.absolute(offset, (5, 4))
    torch.testing.assert_close(rules.offset(flow, (5, 4)), offset, rtol=0, atol=1e-13)
    doubled = rules.offset(rules.finer(flow, (5, 4), (10, 8)), (10, 8))
    repeated = 2 * offset.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(doubled, repeated, rtol=0, atol=1e-13)


def test_corners_reach_the_edges_and_rows_keep_a_fraction():
    identity = RELEASED.identity((3, 5), random(1))
    assert identity[0, 0].tolist() == [0, 0] and identity[2, 4].tolist() == [1, 1]
    start = RELEASED.start(torch.tensor([[7]]), (1, 1), (3, 5), identity)  # row 1, column 2
    assert start[0, 0, 0].tolist() == pytest.approx([2 / 4, (1 + 2 / 5) / 2])
    inside = FlowArithmetic(row_fraction=True).start(torch.tensor([[7]]), (1, 1), (3, 5), identity)
    assert inside[0, 0, 0].tolist() == pytest.approx([2.5 / 5, (1.5 + 2 / 5) / 3])


def test_outside_and_shrinking():
    far = torch.full((1, 1, 1, 2), 3.0)
    assert RELEASED.sample(torch.ones(1, 1, 4, 4), far).item() == 0
    assert FlowArithmetic().sample(torch.ones(1, 1, 4, 4), far).item() == 1
    picture = torch.arange(16.0).reshape(1, 1, 4, 4) ** 2
    assert not torch.equal(
        RELEASED.shrink(picture, (1, 1)), FlowArithmetic().shrink(picture, (1, 1))
    )


@pytest.mark.parametrize("name", ["outside", "shrinking", "region"])
def test_an_unknown_word_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} 'mirror' is none of"):
        FlowArithmetic(**{name: "mirror"})
