import numpy as np
import pytest

from vtonlab.ops.repaint import repaint, soft_mask


def _pictures(height=120, width=90):
    rng = np.random.default_rng(0)
    generated, original = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[30:90, 20:70] = 1
    return generated, original, mask


def test_far_from_the_edge_pictures_are_unchanged():
    generated, original, mask = _pictures()
    result = repaint(generated, original, mask)
    assert np.array_equal(result[50:70, 40:50], generated[50:70, 40:50])
    assert np.array_equal(result[:15], original[:15])


@pytest.mark.parametrize(("height", "radius"), [(64, 1), (250, 3), (1024, 11)])
def test_blur_radius_is_one_hundredth_of_the_height_made_odd(height, radius):
    """An edge blurred by a Gaussian of deviation r passes 0.5 at the edge and 0.84 one r inside."""
    mask = np.zeros((height, 200), np.uint8)
    mask[:, 100:] = 1
    row = soft_mask(mask)[height // 2]
    assert row[100] == pytest.approx(0.5, abs=0.25)
    slope = np.diff(row).max()
    assert slope == pytest.approx(1 / (radius * np.sqrt(2 * np.pi)), rel=0.35)


def test_empty_and_full_masks():
    generated, original, mask = _pictures()
    assert np.array_equal(repaint(generated, original, mask * 0), original)
    assert np.array_equal(repaint(generated, original, mask * 0 + 1), generated)


def test_a_hard_paste_and_a_truncated_blend():
    generated, original, mask = _pictures()
    hard = repaint(generated, original, mask, blur=0)
    assert np.array_equal(hard, np.where(mask[..., None] == 1, generated, original))
    rounded = repaint(generated, original, mask, blur=50).astype(int)
    truncated = repaint(generated, original, mask, blur=50, rounding="truncate")
    assert set(np.unique(rounded - truncated)) == {0, 1}
