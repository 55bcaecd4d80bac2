"""One resize, equal to Pillow's."""

import numpy as np
import pytest
import torch
from PIL import Image

from vtonlab.ops.resize import (
    Placement,
    fit_inside,
    placement_affine,
    resize,
    resize_mask,
    resize_picture,
)


def zone_plate(size: int = 256) -> np.ndarray:
    """Every spatial frequency up to Nyquist: the picture on which resizers differ most."""
    y, x = np.mgrid[:size, :size] - size / 2
    return ((np.cos(np.pi * (x**2 + y**2) / size) + 1) * 127.5).round().astype(np.uint8)


PILLOW = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
SIZES = [(64, 64), (96, 128), (300, 77), (512, 512), (61, 97), (1, 1)]


@pytest.mark.parametrize("mode", PILLOW)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_equal_pillow_in_float(mode, size, dtype):
    plate = zone_plate()
    image = Image.fromarray(plate.astype(np.float32)).resize(size[::-1], PILLOW[mode])
    result = resize(torch.from_numpy(plate).to(dtype)[None], size, mode)[0]
    assert (result - torch.from_numpy(np.array(image))).abs().max() < 5e-3


@pytest.mark.parametrize("mode", PILLOW)
@pytest.mark.parametrize("size", SIZES)
def test_arrays_equal_pillow_to_the_bit(mode, size):
    plate = zone_plate()
    expected = np.array(Image.fromarray(plate).resize(size[::-1], PILLOW[mode]))
    result = resize_picture(plate, size, mode)
    assert np.array_equal(result, expected)
    as_tensor = resize(torch.from_numpy(plate).double()[None], size, mode)[0].clamp(0, 255).numpy()
    assert np.abs(as_tensor - result).mean() < 0.5  # Pillow rounds and clips between its passes


@pytest.mark.parametrize("size", [(64, 64), (85, 51), (512, 512), (100, 300), (1, 1)])
def test_nearest_takes_the_pixel_under_the_centre(size):
    plate = zone_plate()
    result = resize_picture(plate, size, "nearest")
    centres = [(np.arange(n) + 0.5) / n * 256 for n in size]
    expected = plate[
        np.floor(centres[0] + 1e-9).astype(int)[:, None], (centres[1] + 1e-9).astype(int)
    ]
    assert np.array_equal(result, expected)
    assert np.array_equal(resize(torch.from_numpy(plate)[None], size, "nearest")[0].numpy(), result)


def test_nearest_equals_pillow_away_from_ties():
    plate = zone_plate()
    expected = np.array(Image.fromarray(plate).resize((131, 97), Image.Resampling.NEAREST))
    assert np.array_equal(resize_picture(plate, (97, 131), "nearest"), expected)


def test_leading_dimensions_gradient_and_identity():
    image = torch.rand(2, 3, 8, 6, requires_grad=True)
    assert resize(image, (8, 6)) is image
    small = resize(image, (4, 3), "bilinear")
    assert small.shape == (2, 3, 4, 3)
    small.sum().backward()
    assert torch.isfinite(image.grad).all() and (image.grad > 0).all()


def test_colour_pictures_and_masks():
    picture = np.random.default_rng(0).integers(0, 256, (20, 10, 3), dtype=np.uint8)
    assert resize_picture(picture, (10, 5)).shape == (10, 5, 3)
    mask = np.zeros((8, 8), np.uint8)
    mask[:, :4] = 1
    assert np.array_equal(resize_mask(mask, (4, 4)), np.tile([1, 1, 0, 0], (4, 1)))
    large = resize_mask(mask, (16, 32))
    assert large.dtype == np.uint8 and set(np.unique(large)) == {0, 1}
    assert np.array_equal(large[:, :16], np.ones((16, 16)))
    assert resize_mask(mask, (8, 8)) is mask


@pytest.mark.parametrize(
    ("source", "canvas", "expected"),
    [
        ((1024, 768), (512, 384), Placement(0, 0, 512, 384)),
        ((100, 100), (64, 48), Placement(8, 0, 48, 48)),
        ((100, 50), (64, 48), Placement(0, 8, 64, 32)),
        ((1, 1000), (64, 48), Placement(31, 0, 1, 48)),
        ((10, 10), (64, 64), Placement(0, 0, 64, 64)),
    ],
)
def test_fit_keeps_the_aspect_and_centres(source, canvas, expected):
    placement = fit_inside(source, canvas)
    assert placement == expected
    matrix = placement_affine(placement, canvas)
    corners = torch.tensor([[0.0, 0, 1], [1, 1, 1]], dtype=torch.float64) @ matrix.T
    pixels = corners * torch.tensor([canvas[1], canvas[0]])
    assert pixels[0].tolist() == pytest.approx([placement.left, placement.top])
    assert (pixels[1] - pixels[0]).tolist() == pytest.approx([placement.width, placement.height])


@pytest.mark.parametrize("size", [(0, 4), (4,), (4, -1)])
def test_impossible_sizes_are_named(size):
    with pytest.raises(ValueError, match="size must be"):
        resize_picture(zone_plate(8), size)


def test_unknown_modes_are_named():
    with pytest.raises(ValueError, match="'area'"):
        resize(torch.zeros(1, 4, 4), (2, 2), "area")
