import numpy as np
import pytest

from vtonlab.evaluation.prints import print_scores

CLOTH = np.ones((32, 32), np.uint8)


def stripes(turned: bool = False, height: float = 60.0, period: float = 8.0) -> np.ndarray:
    place = np.mgrid[:32, :32][int(turned)]
    grey = 120 + height * np.sin(2 * np.pi * place / period)
    return np.repeat(np.rint(grey)[..., None], 3, -1).astype(np.uint8)


def test_the_right_print_scores_one():
    scores = print_scores(stripes(), stripes(), CLOTH)
    assert scores == pytest.approx(dict(print_contrast=1.0, print_orientation=1.0))


def test_stripes_across_score_minus_one_and_keep_their_contrast():
    scores = print_scores(stripes(turned=True), stripes(), CLOTH)
    assert -1.0 <= scores["print_orientation"] < -0.7  # crests have no direction
    assert scores["print_contrast"] == pytest.approx(1.0)


def test_a_weak_print_keeps_its_direction():
    scores = print_scores(stripes(height=30), stripes(), CLOTH)
    assert scores["print_contrast"] == pytest.approx(0.5, abs=0.02)  # grey levels are whole
    assert scores["print_orientation"] == pytest.approx(1.0)


def test_one_colour_scores_nothing_and_noise_no_direction():
    flat = np.full((32, 32, 3), 120, np.uint8)
    assert print_scores(flat, stripes(), CLOTH) == dict(print_contrast=0.0, print_orientation=0.0)
    noise = np.random.default_rng(0).integers(60, 180, (32, 32, 3), dtype=np.uint8)
    # a mean of 900 cosines of random angles, each neighbour sharing pixels: three deviations
    assert abs(print_scores(noise, stripes(), CLOTH)["print_orientation"]) < 3 * (2 / 900) ** 0.5


def test_a_plain_garment_has_no_print():
    flat = np.full((32, 32, 3), 120, np.uint8)
    assert print_scores(flat, flat, CLOTH) == dict(print_contrast=None, print_orientation=None)
    assert print_scores(flat, stripes(), 0 * CLOTH)["print_contrast"] is None
