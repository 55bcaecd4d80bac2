"""The table of diffusers' transformers: seen or named with a reason, outputs equal to the bit."""

import sys
from pathlib import Path

import diffusers
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from diffusers_zoo import PAGE, ZOO, look


@pytest.mark.parametrize("name", sorted(ZOO))
def test_every_layer_is_seen_or_named(name):
    if not hasattr(diffusers, name):
        pytest.skip(f"diffusers {diffusers.__version__} has no {name}")
    seen = look(name)
    assert seen.layers > 0 and seen.is_equal and not seen.without_gradient
    assert seen.seen == seen.layers or seen.unseen
    assert seen.row(name) in PAGE.read_text().splitlines()


def test_nearly_all_are_seen_whole():
    rows = [line.split("|")[2].split() for line in PAGE.read_text().splitlines() if "| `" in line]
    assert len(rows) == len(ZOO) == 57
    assert sum(row[0] == row[2] for row in rows) >= 55
