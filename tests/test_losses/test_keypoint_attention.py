"""SIFT-VTON eq. 1 and 2, with dense histograms and loops."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vtonlab.losses import KeypointAttentionLoss


def histogram(match, query_grid, key_grid):
    """p[i, j] and the mask of occupied person cells (METHODS.md 2.3)."""
    p = torch.zeros(*query_grid, *key_grid, dtype=torch.float64)
    for (x, y), (u, v), score in zip(
        match.person_points.tolist(), match.garment_points.tolist(), match.scores, strict=True
    ):
        row, column = min(int(y * query_grid[0]), query_grid[0] - 1), int(x * query_grid[1])
        r, c = min(int(v * key_grid[0]), key_grid[0] - 1), int(u * key_grid[1])
        column, c = min(column, query_grid[1] - 1), min(c, key_grid[1] - 1)
        p[row, column, r, c] += score
    p = p.flatten(2).flatten(0, 1)
    total = p.sum(1, keepdim=True)
    return (p / total.clamp(min=1e-30)).float().double(), total[:, 0] > 0


def naive_loss(tensors, cases, matches, naive, times, floor=0.0, sums=False, gate=500):
    value = 0.0
    for layer, case in enumerate(cases):
        log_q = naive.log_map(tensors[layer], case)
        if floor:
            log_q = (log_q.exp() + floor).log()
        for b, match in enumerate(matches):
            p, occupied = histogram(match, case.query_grid, case.key_grid)
            if times[b] < gate and occupied.any():
                term = -(p * log_q[b])[:, occupied].sum() / (case.heads * occupied.sum())
                value = value + term / (1 if sums else len(cases) * len(matches))
    return torch.as_tensor(value, dtype=torch.float64)


@given(data=st.data(), float32=st.booleans())
@settings(deadline=None, max_examples=80, derandomize=True)
def test_one_layer(naive, data, float32):
    case = data.draw(naive.CASES)
    matches = case.matches(empty=(1,))
    times = torch.tensor([499.9, 0.0, 500.0])[: case.batch]
    loss = KeypointAttentionLoss()
    compare = naive.agree_float32 if float32 else naive.agree
    compare(
        lambda t: loss([case.record(t)], {"correspondences": matches}, timesteps=times, step=0)[
            "loss"
        ],
        lambda t: naive_loss([t], [case], matches, naive, times),
        case,
    )


@given(data=st.data(), floor=st.sampled_from([0.0, 1e-8]))
@settings(deadline=None, max_examples=20, derandomize=True)
def test_released_code_sums_layers_and_samples(naive, data, floor):
    first = data.draw(naive.CASES)
    second = naive.Case(first.batch, 2, 4, (3, 2), (2, 5), 0, 2.0, 7)
    matches = first.matches()
    times = torch.zeros(first.batch)
    loss = KeypointAttentionLoss(
        layer_reduction="sum", sample_reduction="sum", probability_floor=floor
    )
    fixed = second.tensors()

    def run(t):
        records = [first.record(t), second.record(fixed, "blocks.1.attn")]
        return loss(records, {"correspondences": matches}, timesteps=times, step=0)["loss"]

    naive.agree(
        run,
        lambda t: naive_loss([t, fixed], [first, second], matches, naive, times, floor, sums=True),
        first,
    )


def test_the_sum_over_two_samples_and_three_layers_is_six_means(naive):
    """METHODS.md 2.4: the released code's effective weight."""
    case = naive.Case(2, 2, 4, (4, 3), (4, 3), 0, 1.0, 3)
    tensors = case.tensors()
    records = [case.record(tensors, f"blocks.{i}") for i in range(3)]
    batch = {"correspondences": case.matches()}
    values = [
        KeypointAttentionLoss(layer_reduction=how, sample_reduction=how)(
            records, batch, timesteps=torch.zeros(2), step=0
        )["loss"]
        for how in ("mean", "sum")
    ]
    torch.testing.assert_close(values[1], 6 * values[0])
