"""Colour changes: pictures alone, alike in person and garment, and values worked out by hand."""

import numpy as np
import pytest

from vtonlab.datasets.transforms.colour import (
    BrightnessContrast,
    ColorJitter,
    HSVShift,
    brightness_contrast,
    colour_map,
    recolour,
)
from vtonlab.structures.sample import IUV_MAPS, LABEL_MAPS, MASKS


class TestColorJitter:
    def test_masks_and_maps_stay(self, full_sample):
        sample = full_sample()
        moved = ColorJitter(brightness=0.5, hue=0.2)(sample)
        for key in ("pose", "garment_pose", *IUV_MAPS, *MASKS, *LABEL_MAPS):
            assert moved[key] is sample[key]
        assert not np.array_equal(moved["person"], sample["person"])

    def test_a_colour_changes_alike_in_person_and_garment(self, full_sample):
        sample = full_sample()
        sample["garment"][:] = sample["person"]
        moved = ColorJitter(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.3)(sample)
        assert np.array_equal(moved["person"], moved["garment"])

    def test_the_agnostic_hole_stays_grey(self, full_sample):
        sample = full_sample()
        hole = sample["mask"] == 1
        sample["agnostic"][hole] = 128
        moved = ColorJitter(brightness=0.9)(sample)
        assert (moved["agnostic"][hole] == 128).all()
        assert not np.array_equal(moved["agnostic"][~hole], sample["agnostic"][~hole])

    def test_colour_map_by_hand(self):
        picture = np.array([[[100, 150, 200], [10, 10, 10]]], np.uint8)
        identity = recolour(picture, *colour_map(1, 1, 1, 0))
        assert np.array_equal(identity, picture)
        assert np.array_equal(recolour(picture, *colour_map(0.5, 1, 1, 0)), picture // 2)
        grey = recolour(picture, *colour_map(1, 1, 0, 0))
        assert grey[0, 0].tolist() == [141, 141, 141]  # 0.299 R + 0.587 G + 0.114 B
        assert (recolour(picture, *colour_map(1, 0, 1, 0)) == 128).all()
        turned = recolour(picture, *colour_map(1, 1, 1, 0.5)).astype(float)
        assert np.abs(turned[0, 1] - 10).max() <= 1  # grey has no hue
        assert turned[0, 0] @ [0.299, 0.587, 0.114] == pytest.approx(140.75, abs=1.5)
        assert np.abs(turned[0, 0] + picture[0, 0] - 2 * 140.75).max() < 2  # complementary

    def test_one_sided_changes(self, full_sample):
        jitter = ColorJitter(brightness=(-0.5, -0.4))
        for seed in range(5):
            sample = full_sample(seed)
            share = jitter(sample)["person"].mean() / sample["person"].mean()
            assert 0.49 < share < 0.61


class TestSeparateChanges:
    @pytest.mark.parametrize(
        "change",
        [
            BrightnessContrast(brightness=0.2, contrast=0.3, prob=1),
            HSVShift(hue=5, value=9, prob=1),
        ],
    )
    def test_photographs_alike_and_nothing_else(self, full_sample, change):
        change.prob = 1.0
        sample = full_sample()
        sample["garment"][:] = sample["person"]
        sample["agnostic"][sample["mask"] == 1] = 128
        moved = change(sample)
        assert np.array_equal(moved["person"], moved["garment"])
        assert not np.array_equal(moved["person"], sample["person"])
        assert (moved["agnostic"][sample["mask"] == 1] == 128).all()
        assert all(moved[key] is sample[key] for key in ("pose", *MASKS, *LABEL_MAPS))

    def test_contrast_is_about_black(self):
        white, dark = np.full((1, 1, 3), 255, np.uint8), np.full((1, 1, 3), 64, np.uint8)
        assert brightness_contrast(white, 0, -0.3)[0, 0, 0] == 178
        assert brightness_contrast(dark, 0, 0.3)[0, 0, 0] == 83

    def test_each_change_has_its_own_coin(self, full_sample):
        changes = [BrightnessContrast(brightness=(0.1, 0.2)), HSVShift(value=(20, 30))]
        seen = set()
        for seed in range(24):
            sample = full_sample()
            sample["rng"] = np.random.default_rng(seed)
            found = []
            for change in changes:
                moved = change(sample)
                found.append(moved["person"] is not sample["person"])
                sample = moved
            seen.add(tuple(found))
        assert len(seen) == 4

    @pytest.mark.parametrize("settings", [dict(prob=1.5), dict(hue=(3, 1))])
    def test_bad_settings_are_named(self, settings):
        with pytest.raises(ValueError, match=r"prob|least, most"):
            HSVShift(**settings)
