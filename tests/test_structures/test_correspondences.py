"""Correspondences: transforms move points as pictures move, rasterising equals a plain loop."""

import numpy as np
import pytest
import torch

from vtonlab.structures import Correspondences, unit_affine


def random_matches(count=50, seed=0):
    rng = np.random.default_rng(seed)
    return Correspondences(
        rng.random((count, 2)).astype(np.float32),
        rng.random((count, 2)).astype(np.float32),
        rng.uniform(0.1, 2, count).astype(np.float32),
    )


def same(a, b, atol=1e-6):
    return (
        len(a) == len(b)
        and torch.allclose(a.person_points, b.person_points, atol=atol)
        and torch.allclose(a.garment_points, b.garment_points, atol=atol)
        and torch.allclose(a.scores, b.scores, atol=atol)
    )


def test_hflip_moves_each_side_alone_and_twice_is_the_identity():
    c = random_matches()
    one = c.hflip(garment=False)
    assert torch.allclose(one.person_points[:, 0], 1 - c.person_points[:, 0])
    assert torch.equal(one.garment_points, c.garment_points)
    assert same(c.hflip().hflip(), c)


def test_flipping_matches_flipping_the_picture():
    h, w = 6, 8
    marker = torch.zeros(h, w)
    marker[2, 5] = 1
    c = Correspondences.from_pixels([[5, 2]], [[0, 0]], (h, w), (h, w)).hflip()
    x, y = c.to_pixels((h, w), (h, w))[0][0].round().long()
    assert marker.flip(1)[y, x] == 1


def test_crop_keeps_what_lies_inside_both_boxes():
    c = random_matches(200)
    box = (0.25, 0.1, 0.75, 0.9)
    cropped = c.crop(person=box, garment=box)
    lo, hi = torch.tensor(box[:2]), torch.tensor(box[2:])
    keep = ((c.person_points >= lo) & (c.person_points <= hi)).all(1)
    keep &= ((c.garment_points >= lo) & (c.garment_points <= hi)).all(1)
    expected = Correspondences(
        (c.person_points[keep] - lo) / (hi - lo),
        (c.garment_points[keep] - lo) / (hi - lo),
        c.scores[keep],
    )
    assert 0 < len(cropped) < len(c) and same(cropped, expected, 1e-5)
    with pytest.raises(ValueError, match="empty"):
        c.crop(person=(0.5, 0, 0.5, 1))


def test_affine_is_what_warp_affine_does_to_pixels():
    cv2 = pytest.importorskip("cv2")
    source, target = (40, 60), (80, 50)
    matrix = np.array([[0.9, 0.3, -4.0], [-0.2, 1.4, 11.0]])
    picture = np.zeros(source, np.float32)
    picture[20, 30] = 1
    warped = cv2.warpAffine(picture, matrix, target[::-1])
    peak = np.array(np.unravel_index(warped.argmax(), warped.shape))[::-1]
    c = Correspondences.from_pixels([[30, 20]], [[1, 1]], source, (4, 4))
    moved = c.affine(person=unit_affine(matrix, source, target))
    point = moved.to_pixels(target, (4, 4))[0][0].numpy()
    assert np.allclose(point, matrix @ [30, 20, 1], atol=1e-3)
    assert np.abs(point - peak).max() <= 1


def test_affine_drops_what_leaves_a_picture_and_its_inverse_restores_the_rest():
    c = random_matches(100)
    matrix = torch.tensor([[1.3, 0.1, -0.2], [-0.05, 0.8, 0.1]], dtype=torch.float64)
    full = torch.eye(3, dtype=torch.float64)
    full[:2] = matrix
    moved = c.affine(garment=matrix)
    back = moved.affine(garment=torch.linalg.inv(full)[:2])
    survivors = (c.garment_points.double() @ matrix[:, :2].T + matrix[:, 2]).float()
    survivors = ((survivors >= 0) & (survivors <= 1)).all(1)
    assert 0 < len(back) < len(c) and same(back, c.subset(survivors), 1e-5)


def test_pixels_round_trip_and_resize_scales_pixel_centres():
    size = (512, 384)
    pixels = np.array([[0, 0], [383, 511], [100.5, 7.25]])
    c = Correspondences.from_pixels(pixels, pixels, size, size)
    assert np.allclose(c.to_pixels(size, size)[0], pixels, atol=1e-4)
    half = c.resize((256, 192)).to_pixels((256, 192), size)[0]
    assert np.allclose(half, (pixels + 0.5) / 2 - 0.5, atol=1e-4)
    outside = Correspondences.from_pixels([[-1, 4], [3, 3]], [[1, 1], [2, 2]], size, size)
    assert len(outside) == 1


def test_to_queries_is_the_weighted_mean_per_cell():
    c, (h, w) = random_matches(300), (8, 6)
    index, target = c.to_queries((h, w))
    loop = {}
    for (px, py), g, s in zip(c.person_points.tolist(), c.garment_points, c.scores, strict=True):
        loop.setdefault(int(py * h) * w + int(px * w), []).append((g, s))
    assert index.tolist() == sorted(loop)
    for q, t in zip(index.tolist(), target, strict=True):
        total = sum(s for _, s in loop[q])
        assert torch.allclose(t, sum(g * s for g, s in loop[q]) / total, atol=1e-6)


@pytest.mark.parametrize("grids", [((16, 12), (16, 12)), ((32, 24), (8, 20)), ((1, 1), (3, 2))])
def test_nearest_coo_is_the_histogram_of_the_method(grids):
    (hq, wq), (hk, wk) = grids
    c = random_matches(400)
    dense = np.zeros((hq, wq, hk, wk))
    for (px, py), (gx, gy), s in zip(
        c.person_points.tolist(), c.garment_points.tolist(), c.scores.tolist(), strict=True
    ):
        dense[int(py * hq), int(px * wq), int(gy * hk), int(gx * wk)] += s
    dense = dense.reshape(hq * wq, hk * wk)
    dense /= np.maximum(dense.sum(1, keepdims=True), 1e-12)
    query, key, weight = c.to_coo((hq, wq), (hk, wk))
    ours = torch.zeros(hq * wq, hk * wk).index_put((query, key), weight, accumulate=True)
    assert np.allclose(ours.numpy(), dense, atol=1e-6)
    assert len(torch.unique(query * (hk * wk) + key)) == len(query)


def test_bilinear_coo_sums_to_one_and_keeps_the_mean_point():
    centre = torch.tensor([[0.31, 0.62]])
    c = Correspondences(torch.tensor([[0.5, 0.5]]), centre)
    query, key, weight = c.to_coo((4, 4), (10, 10), interpolation="bilinear")
    assert set(query.tolist()) == {10} and len(key) == 4
    points = torch.stack([(key % 10 + 0.5) / 10, (key // 10 + 0.5) / 10], 1)
    assert torch.allclose((points * weight[:, None]).sum(0), centre[0], atol=1e-6)
    many = random_matches(200)
    query, _, weight = many.to_coo((8, 6), (16, 12), interpolation="bilinear")
    sums = torch.zeros(48).index_add(0, query, weight)
    assert torch.allclose(sums[torch.unique(query)], torch.tensor(1.0), atol=1e-5)
    with pytest.raises(ValueError, match="cubic"):
        many.to_coo((8, 6), (16, 12), interpolation="cubic")


def test_points_on_the_far_border_fall_into_the_last_cell():
    c = Correspondences([[1.0, 1.0]], [[1.0, 0.0]])
    query, key, weight = c.to_coo((4, 4), (4, 4))
    assert (query.item(), key.item(), weight.item()) == (15, 3, 1.0)


def test_empty_is_harmless_everywhere():
    c = Correspondences.empty()
    assert len(c.hflip().crop(person=(0, 0, 0.5, 0.5)).affine(garment=torch.eye(3))) == 0
    assert all(len(part) == 0 for part in c.to_coo((4, 4), (4, 4)))
    assert all(len(part) == 0 for part in c.to_coo((4, 4), (4, 4), interpolation="bilinear"))
    assert c.to_queries((4, 4))[1].shape == (0, 2)
    assert len(Correspondences.cat([])) == 0 == len(Correspondences.cat([c, c]))
    assert len(Correspondences.from_dict(c.to_dict())) == 0


def test_subset_cat_shuffle_and_dict():
    c = random_matches(30)
    even = torch.arange(30) % 2 == 0
    both = Correspondences.cat([c.subset(even), c.subset(~even)])
    assert len(both) == 30 and same(c.subset(slice(0, 5)), c.subset(torch.arange(5)))
    assert same(Correspondences.from_dict(c.to_dict()), c, 0)
    mixed = c.shuffled(np.random.default_rng(1))
    assert torch.equal(mixed.person_points, c.person_points)
    assert not torch.equal(mixed.garment_points, c.garment_points)
    assert torch.equal(mixed.garment_points.sort(0).values, c.garment_points.sort(0).values)


@pytest.mark.parametrize(
    ("person", "garment", "scores", "word"),
    [
        ([[0.5, 1.5]], [[0.5, 0.5]], None, "from_pixels"),
        ([[0.5, 0.5]], [[0.5, float("nan")]], None, "from_pixels"),
        ([[0.5, 0.5]], [], None, "as many"),
        ([[0.5, 0.5]], [[0.5, 0.5]], [0.0], "above 0"),
    ],
)
def test_errors_say_what_is_wrong(person, garment, scores, word):
    with pytest.raises(ValueError, match=word):
        Correspondences(person, garment, scores)
    with pytest.raises(ValueError, match="scores"):
        Correspondences.from_dict({"person_points": [], "garment_points": []})
