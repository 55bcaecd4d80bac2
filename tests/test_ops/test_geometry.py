"""Grids, sampling, warps and composition of flows."""

import numpy as np

from vtonlab.ops.geometry import compose_flows, downsample, pixel_centres, sample_bilinear, warp


def test_identity_flow_gives_the_picture_back():
    picture = np.random.default_rng(0).integers(0, 256, (7, 5, 3)).astype(np.uint8)
    flow = pixel_centres(7, 5)
    assert flow[0, 0].tolist() == [np.float32(0.1), np.float32(0.5 / 7)]
    assert (sample_bilinear(picture, flow) == picture).all()
    visible = np.zeros((7, 5), bool)
    visible[2:] = True
    warped = warp(picture, flow, visible)
    assert (warped[:2] == 255).all() and (warped[2:] == picture[2:]).all()


def test_bilinear_sampling_is_exact_on_a_ramp_and_for_more_points_than_one_map_holds():
    x = np.arange(20, dtype=np.float32)
    ramp = np.broadcast_to(x + 0.5, (10, 20)).copy()
    points = np.random.default_rng(1).uniform(0.06, 0.94, (70_000, 2)).astype(np.float32)
    # OpenCV rounds the place to 1/32 pixel
    np.testing.assert_allclose(sample_bilinear(ramp, points), points[:, 0] * 20, atol=1 / 60)
    assert sample_bilinear(ramp, np.zeros((0, 2), np.float32)).shape == (0,)


def test_composition_of_shifts_is_their_sum_and_loses_what_falls_outside():
    h, w = 24, 32
    identity, everywhere = pixel_centres(h, w), np.ones((h, w), bool)
    first, second = identity + np.array([4 / w, 0]), identity + np.array([2 / w, 3 / h])
    first_visible = (first < 1).all(-1)
    second_visible = (second < 1).all(-1) & everywhere
    flow, visible = compose_flows(first, first_visible, second, second_visible)
    np.testing.assert_allclose(
        flow[visible], (identity + np.array([6 / w, 3 / h]))[visible], atol=2e-3
    )
    assert visible[: h - 3, : w - 6].all() and not visible[:, w - 5 :].any()


def test_downsample_is_the_mean_of_blocks():
    picture = np.arange(36, dtype=np.float32).reshape(6, 6)
    assert downsample(picture, 3).tolist() == [[7, 10], [25, 28]]
    assert downsample(picture, 1) is picture
