"""Losses on records under DistributedDataParallel give the gradients of one process."""

import copy
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from ranks import run_ranks

WORKER = Path(__file__).with_name("ddp_worker.py")

pytestmark = pytest.mark.ddp


@pytest.fixture(scope="module")
def worker():
    """The worker script as a module."""
    spec = importlib.util.spec_from_file_location("ddp_worker", WORKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _assert_same_as_one_process(worker, model, inputs, got):
    model(**inputs).backward()
    expected = worker.gradients(model)
    assert got.keys() == expected.keys()
    for name, grad in expected.items():
        torch.testing.assert_close(got[name], grad, rtol=0, atol=1e-12)


def test_one_rank_of_flux(worker, make_case, tmp_path):
    case = make_case("flux", torch.float64)
    case.backbone.train()
    case.backbone.enable_gradient_checkpointing()
    layers = ["transformer_blocks.1.attn", "single_transformer_blocks.0.attn"]
    model, inputs = worker.Supervised(case.backbone, layers), {**case.inputs, "return_dict": False}
    got = worker.run(copy.deepcopy(model), inputs, str(tmp_path / "rendezvous"), 0, 1)
    _assert_same_as_one_process(worker, model, inputs, got)


def test_two_ranks(worker, tmp_path):
    arguments = [[tmp_path / "rendezvous", str(i), "2", tmp_path / str(i)] for i in range(2)]
    run_ranks(WORKER, arguments)
    for i in range(2):
        got = torch.load(tmp_path / str(i))
        _assert_same_as_one_process(worker, *worker.make_supervised(), got)
