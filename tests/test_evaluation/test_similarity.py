"""SSIM, MS-SSIM, PSNR and LPIPS against their libraries called directly, and libraries against
each other.
"""

import lpips
import numpy as np
import pytest
import torch
import torchmetrics
from rendered import distorted, smooth_picture
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure

from vtonlab.evaluation import LPIPS, MSSSIM, PSNR, SSIM, NotComputableError, WarpedGarmentLPIPS
from vtonlab.evaluation.base import unit
from vtonlab.evaluation.perceptual import TRUNKS


def samples(count=3, size=(96, 72)):
    pictures = [smooth_picture(n, size) for n in range(count)]
    return [
        dict(id=str(n), garment_id="g", image=distorted(p, n), target=p)
        for n, p in enumerate(pictures)
    ]


def value(metric, pairs):
    metric.process({}, pairs)
    return metric.compute_metrics(metric.results)


def test_ssim_is_torchmetrics():
    pairs = samples()
    library = torchmetrics.image.StructuralSimilarityIndexMeasure(data_range=1.0)
    for pair in pairs:
        library.update(unit(pair["image"]), unit(pair["target"]))  # in float32, as scripts do
    assert value(SSIM(), pairs)["ssim"] == pytest.approx(library.compute().item(), abs=1e-5)


@pytest.mark.parametrize("window", ["gaussian", "uniform"])
@pytest.mark.parametrize("grey", [False, True])
def test_ssim_is_scikit_image(window, grey):
    pair = samples(1)[0]
    image, target = pair["image"], pair["target"]
    if grey:
        weights = np.array([0.2125, 0.7154, 0.0721])
        image, target = image @ weights, target @ weights
    settings = dict(data_range=255, channel_axis=None if grey else -1)
    if window == "gaussian":
        settings |= dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    expected = structural_similarity(image, target, **settings)
    found = value(SSIM(library="scikit-image", window=window, grey=grey), [pair])["ssim"]
    assert found == pytest.approx(expected, abs=1e-6)


def test_both_ssim_libraries_agree_where_their_settings_do():
    """RGB, Gaussian window of sigma 1.5, population covariance: equal but for the five border
    pixels, which torchmetrics mirrors and counts and scikit-image leaves out.
    """
    pairs = samples(2, (192, 144))
    theirs = value(SSIM(library="scikit-image"), pairs)["ssim"]
    inner = [
        torchmetrics.functional.image.structural_similarity_index_measure(
            unit(p["image"]), unit(p["target"]), data_range=1.0, return_full_image=True
        )[1][..., 5:-5, 5:-5].mean()
        for p in pairs
    ]
    assert np.mean(inner) == pytest.approx(theirs, abs=1e-5)
    assert value(SSIM(), pairs)["ssim"] == pytest.approx(theirs, abs=1e-2)
    default = value(SSIM(library="scikit-image", window="uniform"), pairs)["ssim"]
    assert abs(default - theirs) > 1e-3  # hence the variant is named


def test_ms_ssim_is_torchmetrics():
    pair = samples(1, (192, 176))[0]
    library = MultiScaleStructuralSimilarityIndexMeasure(data_range=1.0)
    expected = library(unit(pair["image"]), unit(pair["target"])).item()
    assert value(MSSSIM(), [pair])["ms_ssim"] == pytest.approx(expected, abs=1e-5)


def test_ms_ssim_of_small_pictures_says_why_not():
    with pytest.raises(NotComputableError, match="more than 160 pixels, these have 96x72"):
        MSSSIM().process({}, samples(1))


def test_psnr_is_both_libraries():
    pair = samples(1)[0]
    found = value(PSNR(), [pair])["psnr"]
    skimage = peak_signal_noise_ratio(pair["target"], pair["image"], data_range=255)
    library = torchmetrics.image.PeakSignalNoiseRatio(data_range=1.0)
    assert found == pytest.approx(skimage, abs=1e-9)
    expected = library(unit(pair["image"]), unit(pair["target"])).item()
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("net", ["alex", pytest.param("vgg", marks=pytest.mark.slow), "squeeze"])
def test_lpips_is_both_libraries(net, weights):
    """torchmetrics' copy and the original package, on one random trunk."""
    pairs = samples(2)
    metric = LPIPS(net=net)
    found = value(metric, pairs)[f"lpips_{net}"]
    original = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    trunk = torch.load(weights / TRUNKS[net], weights_only=True)
    slices = {k: v for k, v in original.net.named_modules() if k.startswith("slice")}
    for key, tensor in trunk.items():
        _, place, rest = key.split(".", 2)
        owner = next(m for m in slices.values() if place in dict(m.named_children()))
        owner.get_submodule(place).get_parameter(rest).data.copy_(tensor)
    expected = np.mean(
        [original(unit(p["image"]), unit(p["target"]), normalize=True).item() for p in pairs]
    )
    assert found == pytest.approx(expected, rel=1e-4)
    assert metric.weights.official is False  # random weights under an official name are told


def test_equal_pictures_are_perfect(weights):
    pair = samples(1)[0]
    pair["image"] = pair["target"]
    assert value(SSIM(), [pair])["ssim"] == pytest.approx(1, abs=1e-12)
    assert value(PSNR(), [pair])["psnr"] == 100
    assert value(LPIPS(), [pair])["lpips_alex"] == 0


def test_lpips_without_weights_is_one_sentence(no_weights):
    with pytest.raises(NotComputableError) as error:
        LPIPS().process({}, samples(1))
    text = str(error.value)
    assert "alexnet-owt-7be5be79.pth" in text and "https://" in text and "\n" not in text


def test_settings_that_a_library_lacks():
    with pytest.raises(ValueError, match="scikit-image"):
        SSIM(grey=True)
    with pytest.raises(ValueError, match="alex, vgg, squeeze"):
        LPIPS(net="resnet")


def test_missing_key_names_the_pair():
    with pytest.raises(NotComputableError, match="SSIM needs target of 'a'"):
        SSIM().process({}, [dict(id="a", garment_id="b", image=smooth_picture(0))])


def test_lpips_of_warped_garments_sees_garments_alone(monkeypatch):
    seen = {}
    monkeypatch.setattr(LPIPS, "score", lambda self, sample: seen.update(sample) or {"x": 0.0})
    metric = WarpedGarmentLPIPS(net="vgg")
    assert metric.names == ("warp_lpips_vgg",) and metric.directions == {"warp_lpips_vgg": "down"}
    random = np.random.default_rng(0)
    keys = ("image", "warped", "target")
    sample = {key: random.integers(0, 250, (4, 3, 3), dtype=np.uint8) for key in keys}
    sample |= {key: random.integers(0, 2, (4, 3), np.uint8) for key in ("warped_mask", "worn_mask")}
    metric.score(sample)
    for key, picture, mask in (
        ("image", "warped", "warped_mask"),
        ("target", "target", "worn_mask"),
    ):
        inside = sample[mask] == 1
        assert np.array_equal(seen[key][inside], sample[picture][inside])
        assert (seen[key][~inside] == 255).all() and seen[key].dtype == np.uint8
    del sample["warped"]
    metric.score(sample)
    inside = sample["warped_mask"] == 1
    assert np.array_equal(seen["image"][inside], sample["image"][inside])
