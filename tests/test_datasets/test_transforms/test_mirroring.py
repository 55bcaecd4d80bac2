"""Left becomes right in every map, and twice is nothing."""

import numpy as np
import pytest
from PIL import Image

from vtonlab.datasets.transforms.mirroring import (
    DENSEPOSE_SIDES,
    mirror_iuv,
    mirror_keypoints,
    mirror_labels,
    mirror_pose,
    swapped,
)
from vtonlab.ops.labels import densepose_palette

RNG = np.random.default_rng(0)


def test_lip_arms_legs_and_shoes_change_sides():
    row = np.array([[2, 5, 14, 15, 16, 17, 18, 19, 13]], np.uint8)
    assert mirror_labels(row).tolist() == [[13, 18, 19, 16, 17, 14, 15, 5, 2]]


def test_body_25_left_and_right_change_places():
    keypoints = np.stack([np.arange(25) / 25, np.zeros(25), np.ones(25)], 1).astype(np.float32)
    mirrored = mirror_keypoints(keypoints)
    # Nose, neck and hips' middle keep their number; the left wrist (7) is where the right (4) was.
    for middle in (0, 1, 8):
        assert mirrored[middle, 0] == pytest.approx(1 - middle / 25)
    pairs = {2: 5, 3: 6, 4: 7, 9: 12, 10: 13, 11: 14, 15: 16, 17: 18, 19: 22, 20: 23, 21: 24}
    for right, left in pairs.items():
        assert mirrored[left, 0] == pytest.approx(1 - right / 25)
        assert mirrored[right, 0] == pytest.approx(1 - left / 25)


def test_undetected_keypoints_stay_at_zero():
    keypoints = np.full((25, 3), 0.5, np.float32)
    keypoints[4] = 0
    assert mirror_keypoints(keypoints)[7].tolist() == [0, 0, 0]


def test_densepose_sides_are_pairs_above_the_torso():
    table = swapped(DENSEPOSE_SIDES, 25)
    assert table[:3].tolist() == [0, 1, 2] and table[3] == 4 and table[23] == 24
    assert np.array_equal(table[table], np.arange(25))


@pytest.mark.parametrize("noise", [0, 2])
def test_rendered_parts_change_colour_and_other_colours_stay(noise):
    colours = densepose_palette().astype(int)
    parts = np.repeat(np.repeat(RNG.integers(0, 25, (6, 5)), 8, 0), 8, 1)
    rendering = colours[parts] + RNG.integers(-noise, noise + 1, (*parts.shape, 3))
    rendering = np.clip(rendering, 0, 255).astype(np.uint8)
    rendering[:4, :4] = (254, 0, 0)  # painted hair
    mirrored = mirror_pose(rendering).astype(int)
    assert (mirrored[:4, -4:] == (254, 0, 0)).all()
    expected = colours[swapped(DENSEPOSE_SIDES, 25)[parts[:, ::-1]]]
    assert np.abs(mirrored - expected)[4:].max() <= (2 if noise == 0 else 24)
    assert np.abs(mirrored - expected)[4:].mean() <= 2 * noise + 0.5


@pytest.mark.parametrize("mirror", [mirror_labels, mirror_iuv, mirror_keypoints])
def test_twice_is_identity(mirror):
    value = {
        mirror_labels: RNG.integers(0, 20, (9, 7), dtype=np.uint8),
        mirror_iuv: RNG.integers(0, 25, (9, 7, 3), dtype=np.uint8),
        mirror_keypoints: RNG.random((25, 3)).astype(np.float32),
    }[mirror]
    assert np.allclose(mirror(mirror(value)), value, atol=1e-6)


@pytest.mark.real_data
def test_real_renderings_use_these_colours(real_data):
    for path in sorted((real_data / "vitonhd_mini/train/image-densepose").iterdir())[:3]:
        pose = np.array(Image.open(path)).astype(int)
        distance = np.abs(pose[::4, ::4, None] - densepose_palette().astype(int)).sum(-1).min(-1)
        assert (distance <= 20).mean() > 0.97
        twice = mirror_pose(mirror_pose(pose.astype(np.uint8))).astype(int)
        assert np.abs(twice - pose).mean() < 0.5


def test_mirrored_renderings_show_the_mirrored_parts():
    """Colours exchanged in the picture are the colours of the parts exchanged in the labels."""
    from vtonlab.synthetic.truth import pose_picture

    parts = np.kron(RNG.integers(0, 25, (6, 5), dtype=np.uint8), np.ones((8, 8), np.uint8))
    iuv = np.stack([parts, parts, parts], -1)
    mirrored = mirror_pose(pose_picture(iuv)).astype(int)
    expected = pose_picture(mirror_iuv(iuv)).astype(int)
    # A coarse table may take a part for its neighbour in colour, not for its other side.
    assert np.abs(mirrored - expected).max() <= 2
    assert np.array_equal(mirror_pose(mirror_pose(pose_picture(iuv))), pose_picture(iuv))
