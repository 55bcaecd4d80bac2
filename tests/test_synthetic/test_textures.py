"""Cloth and backgrounds: one design at every size, nothing shared between splits."""

import cv2
import numpy as np
import pytest

from vtonlab.synthetic.background import draw_background
from vtonlab.synthetic.bold_prints import BOLD_KINDS
from vtonlab.synthetic.cloth_canvas import Canvas, box, disk
from vtonlab.synthetic.palettes import JITTER, SPLITS, swatches
from vtonlab.synthetic.prints import draw_word
from vtonlab.synthetic.textures import TEXTURE_KINDS, draw_cloth


@pytest.mark.parametrize("kind", [*TEXTURE_KINDS, *BOLD_KINDS])
def test_same_design_at_every_size(kind):
    for seed in range(3):
        small = draw_cloth(np.random.default_rng(seed), 128, 96, kind)
        large = draw_cloth(np.random.default_rng(seed), 512, 384, kind)
        shrunk = cv2.resize(large, (96, 128), interpolation=cv2.INTER_AREA)
        # Blurred over a few pixels: fine structure is meant to fade where it could only alias.
        smooth = [cv2.blur(image.astype(np.float32), (5, 5)) for image in (small, shrunk)]
        assert np.abs(smooth[0] - smooth[1]).mean() < 4.0
        assert small.dtype == np.uint8 and small.shape == (128, 96, 3)


def test_one_draw_moves_the_callers_stream_by_one():
    states = []
    for kind, size in ((None, 16), ("floral", 48), ("plain", 24)):
        rng = np.random.default_rng(5)
        draw_cloth(rng, size, size, kind)
        states.append(rng.integers(2**40))
    assert len(set(states)) == 1


def test_same_stream_same_cloth_other_seed_other_cloth():
    first, again, other = (draw_cloth(np.random.default_rng(s), 48, 48) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_splits_share_no_colour_and_no_word():
    for a in SPLITS:
        for b in SPLITS:
            if a != b:
                apart = np.abs(swatches(a)[0][:, None] - swatches(b)[0][None]).max(-1)
                assert apart.min() > 2 * JITTER
    rng = np.random.default_rng(0)
    words = [{draw_word(rng, s).split()[0].upper() for _ in range(2000)} for s in SPLITS]
    assert len(set.union(*words)) == sum(len(own) for own in words)


def _found_again(kind: str) -> float:
    """Share of 3x3 patches of a 16x12 picture whose nearest patch, seen with noise, is its own."""
    hits = []
    for seed in range(20):
        cloth = draw_cloth(np.random.default_rng(seed), 16, 12, kind).astype(np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(cloth, (3, 3), axis=(0, 1))
        patches = windows.reshape(14 * 10, -1)
        seen = patches + np.random.default_rng(seed).normal(0, 4, patches.shape)
        nearest = np.argmin(((seen[:, None] - patches[None]) ** 2).sum(-1), 1)
        found = np.stack(np.unravel_index(nearest, (14, 10)))
        gap = np.abs(found - np.indices((14, 10)).reshape(2, -1)).max(0)
        hits.append((gap <= 1).mean())
    return float(np.mean(hits))


def test_graphic_cloth_tells_places_apart():
    share = {k: _found_again(k) for k in ("plain", "graphic", "blocks", "gradient", "abstract")}
    assert share.pop("plain") < 0.35
    assert min(share.values()) > 0.6, share


def test_unknown_names_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="Unknown cloth 'velvet'"):
        draw_cloth(rng, 8, 8, "velvet")
    with pytest.raises(ValueError, match="Unknown split 'dev'"):
        draw_cloth(rng, 8, 8, split="dev")


def test_canvas_coverage_is_the_area():
    canvas = Canvas(40, 40, np.zeros(3))
    canvas.polygons([box(0.25, 0.25, 0.75, 0.5)], np.full(3, 100.0))
    assert canvas.image.sum() / 300 / 1600 == pytest.approx(0.125, rel=0.02)
    canvas = Canvas(80, 80, np.zeros(3))
    canvas.polygons([disk(0.5, 0.5, 0.4), disk(0.5, 0.5, 0.2)], np.full(3, 100.0), union=False)
    assert canvas.image.sum() / 300 / 6400 == pytest.approx(np.pi * 0.12, rel=0.02)


def test_profile_is_box_filtered():
    canvas = Canvas(4, 10, np.zeros(3))
    canvas.profile(np.array([[0.0] * 3, [100.0] * 3]), np.array([0.25, 0.25]), 0.0)
    expected = [0, 0, 50, 100, 100, 0, 0, 50, 100, 100]
    np.testing.assert_allclose(canvas.image[0, :, 0], expected, atol=1e-2)


def test_backgrounds_are_calm_and_size_independent():
    for seed in range(12):
        small = draw_background(np.random.default_rng(seed), 64, 48).astype(np.float32)
        large = draw_background(np.random.default_rng(seed), 256, 192)
        shrunk = cv2.resize(large, (48, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
        assert np.abs(small - shrunk).mean() < 1.0
        assert small.mean() > 90
        assert np.abs(np.diff(small, axis=1)).mean() < 3.0
