import numpy as np
import pytest
from PIL import Image

from vtonlab.ops.labels import LIP_PALETTE, lip_to_atr


def test_garments_and_limbs_keep_their_meaning():
    lip = np.array([[0, 2, 5, 6, 7, 9, 12], [13, 14, 15, 16, 17, 18, 19]], np.uint8)
    assert lip_to_atr(lip).tolist() == [[0, 2, 4, 7, 4, 6, 5], [11, 14, 15, 12, 13, 9, 10]]


@pytest.mark.real_data
def test_lip_palette_is_the_data_sets(real_data):
    path = real_data / "vitonhd_mini" / "test" / "image-parse-v3" / "00006_00.png"
    theirs = np.array(Image.open(path).getpalette()[:60]).reshape(20, 3)
    assert np.array_equal(theirs, LIP_PALETTE)
