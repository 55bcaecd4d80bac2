"""Two processes train CORAL as one does on the same global batch, matched or not."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from ranks import run_ranks

WORKER = Path(__file__).with_name("ddp_worker.py")

pytestmark = pytest.mark.ddp


def load_worker():
    spec = importlib.util.spec_from_file_location("coral_ddp_worker", WORKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


worker = load_worker()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    """What each of two processes found, for every case."""
    folder = tmp_path_factory.mktemp("ranks")
    arguments = [[folder / "rendezvous", str(rank), "2", folder / str(rank)] for rank in range(2)]
    run_ranks(WORKER, arguments)
    return [torch.load(folder / str(rank), weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("case", worker.UNMATCHED)
def test_gradients_of_two_ranks_equal_one_process(ranks, case):
    model = worker.make_model()
    expected = worker.step(model, list(range(worker.BATCH)), worker.UNMATCHED[case])
    largest = max(g.abs().max() for k, g in expected.items() if k != "total")
    for rank in ranks:
        assert rank[case].keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(
                rank[case][name], gradient, rtol=1e-5, atol=1e-6 * float(largest), msg=name
            )


def test_compiled_and_recomputed_two_ranks_equal_one_plain_process(ranks):
    expected = worker.step(worker.make_model(), list(range(worker.BATCH)), ())
    largest = max(g.abs().max() for k, g in expected.items() if k != "total")
    for rank in ranks:
        assert rank["compiled"].keys() == expected.keys()
        for name, gradient in expected.items():
            # float32 in another order of sums than the plain blocks'
            torch.testing.assert_close(
                rank["compiled"][name], gradient, rtol=1e-4, atol=1e-5 * float(largest), msg=name
            )


def test_the_cases_differ_in_supervision():
    """Without matches the distillation vanishes; nothing above compared zeros with zeros."""
    model = worker.make_model()
    layer = "backbone.transformer_blocks.1.attn.to_q.weight"
    numbers = list(range(worker.BATCH))
    with_all, with_none = (
        worker.step(model, numbers, worker.UNMATCHED[case])[layer]
        for case in ("all matched", "none matched")
    )
    assert (with_all - with_none).norm() > 0.05 * with_none.norm()
