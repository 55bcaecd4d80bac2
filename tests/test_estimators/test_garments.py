"""Garments before plain and other backgrounds."""

import numpy as np
import pytest

from vtonlab.estimators import PlainBackground


def garment(ground, cloth, noise=0) -> tuple[np.ndarray, np.ndarray]:
    """A picture of a shirt with a print, and where it is."""
    shape = np.zeros((128, 96), bool)
    shape[20:110, 25:70] = shape[25:45, 10:86] = True
    picture = np.where(shape[..., None], cloth, ground).astype(np.float32)
    picture[60:75, 40:55] = (160, 20, 30)
    picture += np.random.default_rng(0).integers(-noise, noise + 1, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8), shape


@pytest.mark.parametrize(
    "ground, cloth, noise",
    [
        ((246, 246, 246), (30, 40, 90), 0),
        ((246, 246, 246), (30, 40, 90), 4),
        ((246, 246, 246), (242, 243, 243), 0),  # white on white
        ((250, 250, 250), (238, 240, 242), 2),
        ((20, 20, 20), (200, 190, 40), 3),
    ],
)
def test_what_stands_before_a_plain_background(ground, cloth, noise):
    picture, shape = garment(ground, cloth, noise)
    found = PlainBackground()(picture).astype(bool)
    assert (found & shape).sum() > 0.97 * (found | shape).sum()


def test_before_other_backgrounds_the_middle_is_taken():
    picture, shape = garment((0, 0, 0), (220, 40, 40))
    ramp = np.linspace(40, 160, 96, dtype=np.uint8)
    picture[~shape] = np.broadcast_to(ramp[:, None], (128, 96, 3))[~shape]
    found = PlainBackground()(picture).astype(bool)
    assert found[shape].mean() > 0.8 and found[:, :5].mean() < 0.1
