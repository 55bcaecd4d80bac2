"""The whole picture is generated; what the sample knows otherwise stays."""

import numpy as np

from vtonlab.datasets import GenerateWholePicture
from vtonlab.synthetic import SyntheticTryOn


def test_nothing_of_the_person_is_left_to_see():
    settings = dict(size=(32, 24), length=1, setting="person_to_person", categories=["upper_body"])
    plain = SyntheticTryOn(**settings)[0]
    sample = SyntheticTryOn(**settings, transforms=[dict(type="GenerateWholePicture")])[0]
    assert sample["mask"].dtype == np.uint8 and sample["mask"].all()
    assert len(np.unique(sample["agnostic"].reshape(-1, 3), axis=0)) == 1
    for key in ("person", "garment", "pose", "worn_mask", "garment_mask"):
        assert np.array_equal(sample[key], plain[key])
    assert plain["mask"].min() == 0  # the sample of the data set is not changed


def test_called_directly():
    mask = np.zeros((4, 3), np.uint8)
    sample = {"person": np.zeros((4, 3, 3), np.uint8), "mask": mask}
    changed = GenerateWholePicture()(sample)
    assert changed["mask"].all() and not mask.any()
