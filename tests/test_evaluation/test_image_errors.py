import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from vtonlab.evaluation import ImageErrors
from vtonlab.evaluation.bounds import mean_colour_fill
from vtonlab.evaluation.image_errors import l1_inside, psnr_outside, ssim_inside
from vtonlab.evaluation.scoring import Scores, add_columns


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 256, (32, 24, 3), dtype=np.uint8)
    image = np.clip(target.astype(int) + rng.integers(-30, 30, target.shape), 0, 255)
    mask = np.zeros((32, 24), np.uint8)
    mask[8:24, 6:18] = 1
    return image.astype(np.uint8), target, mask


def test_l1_equals_a_loop(pictures):
    image, target, mask = pictures
    errors = [
        abs(int(image[y, x, c]) - int(target[y, x, c])) / 255
        for y in range(32)
        for x in range(24)
        for c in range(3)
        if mask[y, x]
    ]
    assert l1_inside(image, target, mask) == pytest.approx(np.mean(errors))


def test_whole_picture_ssim_and_psnr_equal_the_libraries(pictures):
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure

    image, target, _ = pictures
    everything = np.ones(image.shape[:2], np.uint8)
    _, ssim_map = structural_similarity(
        image, target, channel_axis=-1, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, data_range=255, full=True,
    )  # fmt: skip
    assert ssim_inside(image, target, everything) == pytest.approx(ssim_map.mean())
    a, b = (torch.from_numpy(p.astype(np.float64)).permute(2, 0, 1)[None] for p in (image, target))
    theirs = structural_similarity_index_measure(a, b, data_range=255.0)
    assert ssim_inside(image, target, everything) == pytest.approx(float(theirs), abs=0.02)
    expected = peak_signal_noise_ratio(target, image, data_range=255)
    assert psnr_outside(image, target, 1 - everything) == pytest.approx(expected)


def test_regions_are_separate(pictures):
    _, target, mask = pictures
    changed = target.copy()
    changed[mask == 1] = 0
    assert psnr_outside(changed, target, mask) == 100.0
    assert l1_inside(changed, target, mask) > 0.3
    changed = target.copy()
    changed[mask == 0] = 0
    assert l1_inside(changed, target, mask) == 0.0


def test_mean_colour_fill_is_the_best_constant(pictures):
    _, target, mask = pictures
    fill = mean_colour_fill(target, mask)
    squared = ((fill.astype(float) - target) ** 2)[mask == 1].mean()
    assert squared == pytest.approx(target[mask == 1].astype(float).var(0).mean(), abs=0.3)
    assert np.array_equal(fill[mask == 0], target[mask == 0])


def test_metric_averages_over_pictures(pictures):
    image, target, mask = pictures
    metric = ImageErrors()
    samples = [
        dict(id="a", garment_id="a", image=image, target=target, mask=mask),
        dict(id="b", garment_id="b", image=target, target=target, mask=mask),
    ]
    metric.process({}, samples)
    scores = metric.compute_metrics(metric.results)
    assert scores["l1_inside"] == pytest.approx(l1_inside(image, target, mask) / 2)
    assert scores["pictures"] == 2 and scores["ssim_inside"] <= 1.0


def test_data_that_know_the_flow_of_some_pictures_alone():
    """The share compares errors and bounds of the same pictures; each number has its interval."""
    metric = ImageErrors()
    cloth = dict(l1_cloth=0.1, l1_cloth_copy=0.05, l1_cloth_plain=0.2)
    rendered = dict(l1_inside=0.1, l1_inside_fill=0.2, l1_inside_copy=0.05, **cloth)
    photograph = dict(l1_inside=0.5, l1_inside_fill=0.9)
    metric.results = [photograph, rendered, rendered]
    scores = metric.compute_metrics(metric.results)
    assert scores["l1_inside"] == pytest.approx(0.7 / 3)
    assert scores["share_of_the_way"] == pytest.approx((0.2 - 0.1) / (0.2 - 0.05))
    table = Scores(metrics=scores, rows=[{}, {}, {}])
    add_columns(table, [metric])
    assert {"l1_inside", "l1_cloth", "l1_inside_copy"} <= set(table.intervals)
