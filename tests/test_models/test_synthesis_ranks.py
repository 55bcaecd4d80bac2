"""Two processes train generator and discriminator as one does on the same global batch."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
import synthesis_worker
from ranks import run_ranks

pytestmark = pytest.mark.ddp


def test_two_ranks_end_where_one_process_does(tmp_path):
    """Noise, R1 and the minibatch deviation do not see the ranks."""
    arguments = [
        [tmp_path / "rendezvous", str(rank), "2", tmp_path / str(rank)] for rank in range(2)
    ]
    run_ranks(Path(synthesis_worker.__file__), arguments)
    start = synthesis_worker.make().state_dict()
    expected = synthesis_worker.trained(
        synthesis_worker.make(), list(range(synthesis_worker.BATCH))
    )
    for rank in range(2):
        found = torch.load(tmp_path / str(rank), weights_only=True)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            moved = (value - start[name]).abs().max()
            difference = (found[name] - value).abs().max()
            assert difference <= 1e-3 * moved + 1e-7, name
