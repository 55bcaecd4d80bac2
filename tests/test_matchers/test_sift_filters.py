"""Each SIFT filter equals a plain loop written from the method's text, on random and real input."""

import math

import numpy as np
import pytest

from vtonlab.matchers import sift_filters as filters

cv2 = pytest.importorskip("cv2")


def random_case(seed, count=300):
    rng = np.random.default_rng(seed)
    return dict(
        distances=np.sort(rng.uniform(0, 400, (count, 2)), 1),
        p=rng.uniform(0, 384, (count, 2)).round(rng.integers(0, 3)),
        g=rng.uniform(0, 384, (count, 2)).round(rng.integers(0, 3)),
        angle_p=rng.uniform(0, 360, count),
        angle_g=rng.uniform(0, 360, count),
        size_p=rng.uniform(2, 40, count),
        size_g=rng.uniform(2, 40, count),
        hsv_p=rng.integers(0, [180, 256, 256], (count, 3)).astype(np.uint8),
        hsv_g=rng.integers(0, [180, 256, 256], (count, 3)).astype(np.uint8),
    )


def photo_case(image):
    """Keypoints of a photograph against its own distorted copy."""
    turned = cv2.warpAffine(
        image, np.array([[0.8, 0.2, 9], [-0.15, 1.0, 40.0]]), image.shape[1::-1]
    )
    sift = cv2.SIFT_create()
    (kp, dp), (kg, dg) = (
        sift.detectAndCompute(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), None) for x in (image, turned)
    )
    pairs = cv2.BFMatcher().knnMatch(dp, dg, k=2)
    query, train = [kp[a.queryIdx] for a, _ in pairs], [kg[a.trainIdx] for a, _ in pairs]
    hsv = [
        np.array([cv2.cvtColor(x, cv2.COLOR_RGB2HSV)[round(k.pt[1]), round(k.pt[0])] for k in ks])
        for x, ks in ((image, query), (turned, train))
    ]
    return dict(
        distances=np.array([[a.distance, b.distance] for a, b in pairs]),
        p=np.array([k.pt for k in query]),
        g=np.array([k.pt for k in train]),
        angle_p=np.array([k.angle for k in query]),
        angle_g=np.array([k.angle for k in train]),
        size_p=np.array([k.size for k in query]),
        size_g=np.array([k.size for k in train]),
        hsv_p=hsv[0],
        hsv_g=hsv[1],
    )


@pytest.fixture(params=["random-0", "random-1", "texture", "photo"])
def case(request):
    if request.param.startswith("random"):
        return random_case(int(request.param[-1]))
    if request.param == "texture":
        noise = np.random.default_rng(5).integers(0, 256, (40, 30, 3)).astype(np.uint8)
        return photo_case(cv2.resize(noise, (240, 320), interpolation=cv2.INTER_CUBIC))
    root = request.getfixturevalue("real_data")
    path = root / "sift_pairs" / "cloth" / "12562_00.jpg"
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    return photo_case(np.ascontiguousarray(cv2.resize(image, (384, 512))))


def circular(a, b, turn):
    return min((a - b) % turn, (b - a) % turn)


def test_ratio(case):
    loop = [a < 0.8 * b for a, b in case["distances"].tolist()]
    assert filters.ratio_filter(case["distances"], 0.8).tolist() == loop


def test_angle(case):
    loop = [circular(a, b, 360) < 45 for a, b in zip(case["angle_p"], case["angle_g"], strict=True)]
    assert filters.angle_filter(case["angle_p"], case["angle_g"], 45).tolist() == loop


def test_angle_wraps_and_excludes_its_bound():
    a, b = np.array([350.0, 10.0, 0.0, 44.9]), np.array([20.0, 340.0, 45.0, 0.0])
    assert filters.angle_filter(a, b, 45).tolist() == [True, True, False, True]


def test_scale(case):
    loop = [1 / 2.25 <= a / b <= 2.25 for a, b in zip(case["size_p"], case["size_g"], strict=True)]
    assert filters.scale_filter(case["size_p"], case["size_g"], 2.25).tolist() == loop


def test_colour(case):
    loop = []
    for (h1, s1, v1), (h2, s2, v2) in zip(
        case["hsv_p"].tolist(), case["hsv_g"].tolist(), strict=True
    ):
        if abs(v1 - v2) > 0.4 * 255:
            loop.append(False)
        elif (s1 < 25.5 and s2 < 25.5) or (v1 < 51 and v2 < 51):
            loop.append(True)
        else:
            loop.append(circular(h1, h2, 180) < 15)
    assert filters.colour_filter(case["hsv_p"], case["hsv_g"]).tolist() == loop


def test_duplicates(case):
    # crowd the points so that near and exact duplicates happen
    p, g = np.round(case["p"] / 8, 1), np.round(case["g"] / 8, 1)
    p, g = np.vstack([p, p[::3], p[::5] + 0.7]), np.vstack([g, g[::4][: len(p[::3])], g[::5] - 0.7])
    p = p[: len(g)]
    g = g[: len(p)]
    kept = []
    for i in range(len(p)):
        repeats = any(
            tuple(p[i]) == tuple(p[j])
            or tuple(g[i]) == tuple(g[j])
            or (
                math.dist(p[i], p[j]) <= math.sqrt(2) + 1e-9
                and math.dist(g[i], g[j]) <= math.sqrt(2) + 1e-9
            )
            for j in kept
        )
        if not repeats:
            kept.append(i)
    ours = filters.duplicate_filter(p, g, 2**0.5)
    assert np.flatnonzero(ours).tolist() == kept and len(kept) < len(p)


@pytest.mark.parametrize("count", [2, 3, 7, 14])
def test_line_angles(case, count):
    p, g = case["p"][:count], case["g"][:count]
    angles = [
        math.degrees(math.atan2(y2 - y1, x2 + 384 - x1))
        for (x1, y1), (x2, y2) in zip(p, g, strict=True)
    ]
    loop = []
    for i, angle in enumerate(angles):
        others = angles[:i] + angles[i + 1 :]
        loop.append(abs(angle - sum(others) / len(others)) <= 15)
    assert filters.line_angle_filter(p, g, 384, 15).tolist() == loop


@pytest.mark.parametrize("count", [2, 3, 7, 14])
def test_neighbours(case, count):
    p, g = case["p"][:count], case["g"][:count]
    loop = []
    for i in range(count):
        j = min((k for k in range(count) if k != i), key=lambda k: math.dist(g[i], g[k]))
        loop.append(math.dist(p[i], p[j]) <= 1.4 * math.dist(g[i], g[j]))
    assert filters.neighbour_filter(p, g, 1.4).tolist() == loop


def test_neighbours_reject_the_one_wrong_match():
    right = np.array([[10.0, 10], [20, 12], [30, 9], [22, 25], [12, 28]])
    person = np.vstack([right, [[90.0, 80]]])
    garment = np.vstack([right * 1.1, [[48.0, 40]]])
    kept = filters.neighbour_filter(person, garment, 1.4)
    assert kept.tolist() == [True] * 5 + [False]
    assert filters.neighbour_filter(garment, person, 1.8)[5]


def test_one_match_has_nothing_to_disagree_with():
    one = np.zeros((1, 2))
    assert filters.line_angle_filter(one, one, 384, 15).all()
    assert filters.neighbour_filter(one, one, 1.4).all()


def test_homography_finds_exactly_the_planted_inliers():
    rng = np.random.default_rng(0)
    matrix = np.array([[0.9, 0.1, 12], [-0.1, 1.1, 30], [1e-4, 2e-4, 1]])
    p = rng.uniform(0, 384, (120, 2))
    moved = np.c_[p, np.ones(120)] @ matrix.T
    g = moved[:, :2] / moved[:, 2:] + rng.normal(0, 0.3, (120, 2))
    wrong = rng.permutation(120)[:40]
    g[wrong] += rng.choice([-1, 1], (40, 2)) * rng.uniform(40, 120, (40, 2))
    truth = np.ones(120, dtype=bool)
    truth[wrong] = False
    assert (filters.homography_filter(p, g, 12.0) == truth).all()
    assert (filters.homography_filter(p, g, 12.0) == filters.homography_filter(p, g, 12.0)).all()


def test_homography_equals_a_plain_ransac_by_svd():
    """The winner of an exhaustive-enough DLT search keeps the same matches."""
    rng = np.random.default_rng(1)
    p = rng.uniform(0, 384, (60, 2))
    g = p * [0.9, 1.1] + [20, -10] + rng.normal(0, 1.0, (60, 2))
    g[:15] += rng.uniform(60, 150, (15, 2))
    best = np.zeros(60, dtype=bool)
    for _ in range(1000):
        chosen = rng.choice(60, 4, replace=False)
        rows = []
        for (x, y), (u, v) in zip(p[chosen], g[chosen], strict=True):
            rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y, -u])
            rows.append([0, 0, 0, x, y, 1, -v * x, -v * y, -v])
        homography = np.linalg.svd(np.array(rows))[2][-1].reshape(3, 3)
        moved = np.c_[p, np.ones(60)] @ homography.T
        error = np.linalg.norm(moved[:, :2] / moved[:, 2:] - g, axis=1)
        if (error < 12).sum() > best.sum():
            best = error < 12
    assert (filters.homography_filter(p, g, 12.0) == best).all()


def test_homography_needs_four():
    three = np.random.default_rng(0).uniform(0, 99, (3, 2))
    assert not filters.homography_filter(three, three, 12.0).any()
    assert len(filters.homography_filter(three[:0], three[:0], 12.0)) == 0


def moved(case, how):
    """The same candidates in pictures 384 wide that are both mirrored, or both cropped."""
    case = dict(case)
    if how == "cropped":
        case["p"], case["g"] = case["p"] - [31, 17], case["g"] - [31, 17]
        return case
    for side in "pg":
        case[side] = case[side] * [-1, 1] + [383, 0]
        case[f"angle_{side}"] = (180.0 - case[f"angle_{side}"]) % 360
    return case


@pytest.mark.parametrize("how", ["mirrored", "cropped"])
@pytest.mark.parametrize("count", [9, 200])
def test_filters_keep_the_same_when_the_pictures_move(case, how, count):
    """All but the side-by-side lines, which are drawn and not part of any picture."""
    case = {name: value[:count] for name, value in case.items()}
    other = moved(case, how)
    for run in (
        lambda c: filters.angle_filter(c["angle_p"], c["angle_g"], 45.0),
        lambda c: filters.scale_filter(c["size_p"], c["size_g"], 2.25),
        lambda c: filters.duplicate_filter(c["p"], c["g"], 2**0.5),
        lambda c: filters.neighbour_filter(c["p"], c["g"], 1.4),
        lambda c: filters.homography_filter(c["p"], c["g"], 12.0),
    ):
        assert (run(case) == run(other)).mean() > 0.98
