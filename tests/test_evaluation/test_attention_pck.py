import pytest
import torch

from vtonlab.evaluation import AttentionPCK
from vtonlab.evaluation.attention_pck import chance_level, correct_matches
from vtonlab.evaluation.scoring import Scores, add_columns
from vtonlab.structures import FlowField

GRID = (4, 3)


def brute_force(argmax, truth, grid, tolerance=1.0):
    right = []
    for key, (x, y) in zip(argmax.tolist(), truth.tolist(), strict=True):
        column, row = key % grid[1], key // grid[1]
        dx, dy = abs(column + 0.5 - x * grid[1]), abs(row + 0.5 - y * grid[0])
        right.append(max(dx, dy) <= tolerance + 1e-6)
    return torch.tensor(right)


def test_correct_matches_equal_brute_force():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(200, 2, generator=generator)
    argmax = torch.randint(0, 12, (200,), generator=generator)
    for tolerance in (0.5, 1.0, 2.0):
        expected = brute_force(argmax, truth, GRID, tolerance)
        assert torch.equal(correct_matches(argmax, truth, GRID, tolerance), expected)


def test_chance_is_what_guessing_scores():
    truth = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
    expected = torch.stack(
        [brute_force(torch.arange(12), t.expand(12, 2), GRID).float().mean() for t in truth]
    )
    torch.testing.assert_close(chance_level(truth, GRID), expected)


def result(argmax, flow, mass=0.5):
    attention = dict(argmax=argmax, mass=torch.full((12,), mass), grids=(GRID, GRID))
    other = dict(
        argmax=torch.zeros(12, dtype=torch.int64), mass=torch.zeros(12), grids=(GRID, GRID)
    )
    return dict(attention=dict(good=attention, bad=other), flow=flow)


def identity_flow():
    y, x = torch.meshgrid(
        (torch.arange(16) + 0.5) / 16, (torch.arange(12) + 0.5) / 12, indexing="ij"
    )
    return FlowField(torch.stack([x, y], -1), torch.ones(16, 12, dtype=torch.bool))


def test_identity_attention_on_an_identity_flow_is_all_right():
    metric = AttentionPCK()
    metric.process({}, [result(torch.arange(12), identity_flow())])
    scores = metric.compute_metrics(metric.results)
    assert scores["attention_pck"] == 1.0
    assert scores["attention_pck_layer"] == "good"
    assert scores["garment_mass"] == pytest.approx(0.5)
    assert scores["attention_pck/bad"] < 0.5
    assert 0 < scores["attention_pck_chance"] < 0.8


def test_another_reference_has_names_of_its_own():
    metric = AttentionPCK(reference="garment_2")
    found = result(torch.arange(12), identity_flow())
    pair = {"attention_2": found["attention"], "flow_2": found["flow"]}
    metric.process({}, [pair])
    scores = metric.compute_metrics(metric.results)
    assert scores["attention_pck_2"] == 1.0 and scores["attention_pck_2/bad"] < 0.5
    assert all("_2" in name for name in scores) and metric.directions["true_share_2"] == "up"
    assert metric.columns(metric.results) == [{"attention_pck_2": 1.0, "garment_mass_2": 0.5}]
    with pytest.raises(ValueError, match="that reference in the conditioner's `supervise`"):
        metric.process({}, [found])


def test_supervised_layers_are_told_from_the_others():
    metric = AttentionPCK(layers=["bad"])
    metric.process({}, [result(torch.arange(12), identity_flow())])
    scores = metric.compute_metrics(metric.results)
    assert scores["attention_pck_layer"] == "bad" and scores["attention_pck"] < 0.5
    assert scores["attention_pck_any_layer"] == 1.0


def test_supervised_layer_that_was_not_read():
    metric = AttentionPCK(layers=["other"])
    metric.process({}, [result(torch.arange(12), identity_flow())])
    with pytest.raises(ValueError, match="other"):
        metric.compute_metrics(metric.results)


def test_invisible_queries_do_not_count():
    flow = identity_flow()
    flow.visible[:8] = False  # the upper two token rows
    wrong_above = torch.arange(12)
    wrong_above[:6] = 11
    metric = AttentionPCK()
    metric.process({}, [result(wrong_above, flow)])
    scores = metric.compute_metrics(metric.results)
    assert scores["attention_pck"] == 1.0 and scores["attention_pck_queries"] == 6


def test_queries_are_pooled_over_pictures():
    flow, hidden = identity_flow(), identity_flow()
    hidden.visible[4:] = False  # three queries left
    metric = AttentionPCK()
    right, wrong = torch.arange(12), torch.full((12,), 11)
    metric.process({}, [result(right, flow), result(wrong, hidden)])
    assert metric.compute_metrics(metric.results)["attention_pck"] == pytest.approx(12 / 15)


def test_a_model_without_probe_is_one_sentence():
    with pytest.raises(ValueError, match="probe in the model"):
        AttentionPCK().process({}, [dict(flow=identity_flow())])


def test_intervals_and_categories_are_of_the_pooled_share():
    """One pair with 1000 queries, 95 % right, and twenty of 20 with 10 %: pooled 0.707."""
    pairs = [(1000, 950)] + [(20, 2)] * 20
    metric = AttentionPCK()
    for queries, right in pairs:
        sums = dict(queries=queries, right=right, mass=0.5 * queries, chance=0.1 * queries)
        metric.results.append({"block": sums})
    scores = Scores(metrics=metric.compute_metrics(metric.results))
    kinds = ["dresses"] + ["upper_body"] * 20
    scores.rows = [dict(category=kind) for kind in kinds]
    add_columns(scores, [metric])
    pooled = scores.metrics["attention_pck"]
    assert pooled == pytest.approx(990 / 1400)
    low, high = scores.intervals["attention_pck"]
    assert low < pooled < high
    by_kind = [scores.by_category[kind]["attention_pck"] for kind in ("dresses", "upper_body")]
    assert by_kind == pytest.approx([0.95, 0.1]) and min(by_kind) < pooled < max(by_kind)
    assert scores.intervals["garment_mass"] == pytest.approx((0.5, 0.5))


def test_columns_are_of_the_layer_whose_share_is_reported():
    """A finer grid has more right queries, and yet a smaller share of them."""

    def pair(coarse, fine):
        rows = dict(coarse=(coarse, 10), fine=(fine, 40))
        return {name: dict(queries=n, right=r, mass=0, chance=0) for name, (r, n) in rows.items()}

    metric, results = AttentionPCK(), [pair(8, 16), pair(9, 20)]
    scores = metric.compute_metrics(results)
    assert (scores["attention_pck_layer"], scores["attention_pck"]) == ("coarse", 0.85)
    assert [row["attention_pck"] for row in metric.columns(results)] == [0.8, 0.9]
    assert metric.pair_weights(results)["attention_pck"] == [10, 10]


def test_chance_at_full_size_needs_no_table_of_queries_and_keys():
    truth = torch.tensor([[0.5, 0.5], [0.0, 1.0], [0.004, 0.996]]).repeat(100_000, 1)
    found = chance_level(truth, (128, 96))  # as a table: 3.7e9 entries
    keys = torch.arange(128 * 96)
    for place in range(3):
        expected = brute_force(keys, truth[place].expand(len(keys), 2), (128, 96)).float().mean()
        torch.testing.assert_close(found[place], expected)
