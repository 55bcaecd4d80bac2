"""FID and KID against direct formulas and both libraries, on the same features."""

import numpy as np
import pytest
import scipy
import torch
from packaging.version import parse
from rendered import distorted, smooth_picture
from scipy import linalg
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import KernelInceptionDistance

from vtonlab.evaluation import FID, KID, NotComputableError
from vtonlab.evaluation.distribution import frechet_distance, kernel_distances
from vtonlab.evaluation.features import shared_features


def direct_fid(a, b):
    """The textbook formula, SciPy's matrix square root, float64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(c1 @ c2)
    return np.square(a.mean(0) - b.mean(0)).sum() + np.trace(c1 + c2 - 2 * np.real(root))


def direct_kid(a, b):
    """Unbiased squared MMD with the cubic kernel, by loops over pairs."""

    def kernel(x, y):
        return (x @ y / len(x) + 1) ** 3

    n, m = len(a), len(b)
    aa = sum(kernel(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    bb = sum(kernel(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return aa + bb - 2 * sum(kernel(x, y) for x in a for y in b) / (n * m)


def features(count, dims, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(dims, dims)) / np.sqrt(dims)
    return (rng.normal(size=(count, dims)) @ mix + shift).astype(np.float32)


@pytest.mark.parametrize("count", [40, 400], ids=["singular", "regular"])
def test_fid_is_the_direct_formula_and_both_libraries(count):
    a, b = features(count, 64, 0), features(count + 5, 64, 1, 0.1)
    found = frechet_distance(a, b)
    assert found == pytest.approx(direct_fid(a, b), abs=1e-4)
    if parse(scipy.__version__) < parse("1.18"):  # clean-fid 0.1.35 needs what 1.18 removed
        from cleanfid.fid import fid_from_feats

        assert found == pytest.approx(fid_from_feats(a, b), abs=1e-3)
    sides = [torch.from_numpy(x).double() for x in (a, b)]
    stats = [(x.mean(0), torch.cov(x.T)) for x in sides]
    assert found == pytest.approx(_compute_fid(*stats[0], *stats[1]).item(), abs=1e-4)


def test_fid_of_a_set_with_itself_is_nothing():
    for count in (6, 300):
        a = features(count, 128, 0)
        assert abs(frechet_distance(a, a)) < 1e-6


def test_kid_is_the_direct_formula_and_both_libraries():
    from cleanfid.fid import kernel_distance

    a, b = features(30, 16, 0), features(30, 16, 1, 0.2)
    found = kernel_distances(a, b, 1, 30, seed=0)[0]
    assert found == pytest.approx(direct_kid(a.astype(float), b.astype(float)), rel=1e-9)
    assert found == pytest.approx(kernel_distance(a, b, num_subsets=1), rel=1e-4)
    library = KernelInceptionDistance(feature=torch.nn.Identity(), subsets=1, subset_size=30)
    library.real_features, library.fake_features = [torch.tensor(b)], [torch.tensor(a)]
    assert found == pytest.approx(library.compute()[0].item(), rel=1e-3)


def test_kid_draws_the_same_subsets_for_one_seed():
    a, b = features(50, 16, 0), features(50, 16, 1)
    first, again, other = (kernel_distances(a, b, 5, 20, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def pairs(count=8):
    pictures = [smooth_picture(n, (64, 48)) for n in range(count)]
    return [
        dict(
            id=str(n),
            garment_id=str(n),
            category=("upper_body", "dresses")[n % 2],
            image=distorted(p, n),
            target=p,
        )
        for n, p in enumerate(pictures)
    ]


def test_fid_and_kid_of_pictures(weights):
    """The metric is the formula on clean-fid's own features of the same files."""
    from cleanfid.features import InceptionV3W
    from cleanfid.resize import build_resizer

    fid, kid = FID(), KID(subset_size=6, subsets=3)
    for metric in (fid, kid):
        metric.process({}, pairs())
    network, resize = InceptionV3W(str(weights), download=False).eval(), build_resizer("clean")

    def embed(picture):
        tensor = torch.from_numpy(resize(picture)).permute(2, 0, 1)[None]
        return network(tensor).detach()[0].numpy()

    sides = [np.stack([embed(p[key]) for p in pairs()]) for key in ("image", "target")]
    scores = fid.compute_metrics(fid.results)
    assert scores["fid"] == pytest.approx(direct_fid_low_rank(*sides), rel=1e-3)
    found = kid.compute_metrics(kid.results)
    expected = 1000 * kernel_distances(*sides, 3, 6, 0)
    assert found["kid_x1000"] == pytest.approx(expected.mean(), rel=1e-3)
    assert found["kid_x1000_std"] == pytest.approx(expected.std(), rel=1e-3)


def direct_fid_low_rank(a, b):
    """The textbook formula in the span of both sets, where covariances are small."""
    basis = np.linalg.qr(np.concatenate([a, b]).astype(np.float64).T)[0]
    return direct_fid(a @ basis, b @ basis)


@pytest.mark.slow
def test_full_size_inception_of_pytorch_fid(pytorch_fid_weights):
    """Random weights at full size, loaded strictly."""
    metric = FID(features="pytorch-fid", prefix="pytorch_")
    metric.process({}, pairs(2))
    vector = metric.results[0]["vector"]
    assert vector.shape == (2048,) and vector.std() > 0
    assert metric.compute_metrics(metric.results)["pytorch_fid"] > 0
    assert shared_features("pytorch-fid") is metric.features


def test_by_category(weights):
    metric = FID(by_category=True)
    metric.process({}, pairs())
    scores = metric.compute_metrics(metric.results)
    assert set(scores) == {"fid", "fid/upper_body", "fid/dresses"}
    half = FID()
    half.process({}, [p for p in pairs() if p["category"] == "dresses"])
    expected = half.compute_metrics(half.results)["fid"]
    assert scores["fid/dresses"] == pytest.approx(expected, rel=1e-9)


def test_a_category_of_one_picture_costs_only_its_own_number(weights):
    listed = [
        dict(p, category="lower_body" if n == 0 else "dresses") for n, p in enumerate(pairs())
    ]
    metric = FID(by_category=True)
    metric.process({}, listed)
    scores = metric.compute_metrics(metric.results)
    assert set(scores) == {"fid", "fid/dresses"}
    assert "1 generated and 1 real" in metric.refused["fid/lower_body"]


def test_a_folder_of_people_has_no_categories(weights):
    metric = FID(by_category=True)
    for number, pair in enumerate(pairs()):
        metric.add_real(str(number), None, pair["target"])
    metric.process({}, pairs())
    assert set(metric.compute_metrics(metric.results)) == {"fid"}
    assert set(metric.refused) == {"fid/upper_body", "fid/dresses"}


def test_a_person_of_several_pairs_is_real_once(weights):
    metric = FID()
    metric.process({}, [dict(p, id="same") for p in pairs(3)])
    with pytest.raises(NotComputableError, match="3 generated and 1 real"):
        metric.compute_metrics(metric.results)


def test_clip_fid(weights):
    metric = FID(features="clip", prefix="clip_")
    metric.process({}, pairs(4))
    assert set(metric.compute_metrics(metric.results)) == {"clip_fid"}


def test_kid_subsets_larger_than_the_set(weights):
    metric = KID(subset_size=100)
    metric.process({}, pairs(4))
    with pytest.raises(NotComputableError, match="subsets of 100 pictures, the smaller side has 4"):
        metric.compute_metrics(metric.results)
    shrunk = KID(subset_size=100, shrink=True, subsets=2)
    shrunk.process({}, pairs(4))
    assert np.isfinite(shrunk.compute_metrics(shrunk.results)["kid_x1000"])


@pytest.mark.parametrize("kind", ["clean-fid", "pytorch-fid", "clip"])
def test_without_weights_one_sentence(kind, no_weights, monkeypatch):
    from vtonlab.evaluation import features as module

    module._shared.cache_clear()
    with pytest.raises(NotComputableError) as error:
        FID(features=kind).process({}, pairs(1))
    assert "\n" not in str(error.value)


def test_unknown_features():
    with pytest.raises(ValueError, match="clean-fid, pytorch-fid, clip, dino"):
        FID(features="resnet")
