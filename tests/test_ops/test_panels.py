"""Packing, panel ids, mask canvas and dynamic shift against a derivation by loops (METHODS.md 1.2,
1.5).
"""

import pytest
import torch

from vtonlab.ops.panels import (
    GARMENT,
    PERSON,
    POSE,
    dynamic_shift,
    join_panels,
    mask_to_channels,
    pack_latents,
    panel_indices,
    panel_position_ids,
    unpack_latents,
)


def test_packing_equals_loops():
    latents = torch.randn(2, 3, 4, 6)
    tokens = pack_latents(latents)
    assert tokens.shape == (2, 6, 12)
    for row in range(2):
        for column in range(3):
            expected = [
                latents[:, c, 2 * row + i, 2 * column + j]
                for c in range(3)
                for i in range(2)
                for j in range(2)
            ]
            assert torch.equal(tokens[:, row * 3 + column], torch.stack(expected, -1))
    assert torch.equal(unpack_latents(tokens, 4, 6), latents)


def test_packing_equals_diffusers():
    from diffusers import FluxFillPipeline

    latents = torch.randn(2, 16, 8, 6)
    theirs = FluxFillPipeline._pack_latents(latents, 2, 16, 8, 6)
    assert torch.equal(pack_latents(latents), theirs)


def test_odd_latents_are_refused():
    with pytest.raises(ValueError, match="3x4"):
        pack_latents(torch.zeros(1, 1, 3, 4))


def test_mask_keeps_every_pixel_in_row_major_order():
    mask = torch.arange(16 * 24, dtype=torch.float32).reshape(1, 1, 16, 24)
    channels = mask_to_channels(mask, 8)
    assert channels.shape == (1, 64, 2, 3)
    for channel in range(64):
        assert torch.equal(channels[0, channel], mask[0, 0, channel // 8 :: 8, channel % 8 :: 8])


def test_each_panel_finds_its_own_tokens():
    grid = (3, 2)
    panels = [torch.full((1, 1, 6, 4), float(p)) for p in range(3)]
    tokens = pack_latents(join_panels(*panels))[0, :, 0]
    for panel in (GARMENT, PERSON, POSE):
        assert (tokens[panel_indices(grid, 3, panel)] == panel).all()


def test_indices_follow_the_example_of_the_paper():
    """At 1024x768 a row is 48 garment, 48 person, 48 pose columns of a (64, 144) canvas."""
    canvas = torch.arange(64 * 144).reshape(64, 144)
    for panel in range(3):
        expected = canvas[:, 48 * panel : 48 * (panel + 1)].reshape(-1)
        assert torch.equal(panel_indices((64, 48), 3, panel), expected)


def test_pose_shares_the_persons_positions():
    grid = (4, 3)
    ids = panel_position_ids(grid, 3)
    assert ids.shape == (36, 3)
    assert torch.equal(ids[panel_indices(grid, 3, POSE)], ids[panel_indices(grid, 3, PERSON)])
    for index, (zero, row, column) in enumerate(ids.tolist()):
        canvas_row, canvas_column = divmod(index, 9)
        assert (zero, row) == (0, canvas_row)
        assert column == (canvas_column if canvas_column < 6 else canvas_column - 3)


def test_two_panels_have_the_plain_grid():
    ids = panel_position_ids((2, 3), 2)
    assert ids[:, 2].tolist() == [0, 1, 2, 3, 4, 5] * 2


def test_dynamic_shift_at_the_papers_size():
    assert dynamic_shift(9216) == pytest.approx(2.017, abs=5e-4)
    assert dynamic_shift(256) == pytest.approx(0.5)
    assert dynamic_shift(4096) == pytest.approx(1.15)
