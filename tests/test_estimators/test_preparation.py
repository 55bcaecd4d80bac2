"""From photographs to maps: what is given is used, what is missing is made, what is unsure said."""

import numpy as np
import pytest

from vtonlab.estimators import Preparation, PreparationError, prepare
from vtonlab.estimators.base import KeypointEstimator, MatteEstimator, Person
from vtonlab.ops.agnostic import leak_share, worn_garment
from vtonlab.registry import ESTIMATORS
from vtonlab.utils.images import read_image

SIZE = (128, 96)
# a figure with its arms a little away from the trunk: x, y in [0, 1]
FIGURE = {
    0: (0.50, 0.12), 1: (0.50, 0.24), 2: (0.36, 0.25), 3: (0.28, 0.40), 4: (0.25, 0.54),
    5: (0.64, 0.25), 6: (0.72, 0.40), 7: (0.75, 0.54), 8: (0.50, 0.54), 9: (0.42, 0.54),
    10: (0.42, 0.74), 11: (0.42, 0.92), 12: (0.58, 0.54), 13: (0.58, 0.74), 14: (0.58, 0.92),
    15: (0.47, 0.10), 16: (0.53, 0.10), 17: (0.43, 0.11), 18: (0.57, 0.11),
}  # fmt: skip


def figure(missing=(), mirrored=False) -> Person:
    keypoints = np.zeros((25, 3), np.float32)
    for joint, (x, y) in FIGURE.items():
        if joint not in missing:
            keypoints[joint] = (1 - x if mirrored else x, y, 0.9)
    hands = np.zeros((2, 3, 3), np.float32)
    for side, x in ((0, 0.77), (1, 0.23)):
        hands[side] = [(x, 0.58, 0.9), (x + 0.02, 0.58, 0.9), (x - 0.02, 0.56, 0.9)]
    mouth = np.array([[0.52, 0.145, 0.9], [0.48, 0.145, 0.9]], np.float32)
    return Person(keypoints, 0.99, (0.2, 0.05, 0.8, 0.95), hands, mouth)


class Told(KeypointEstimator):
    """Finds whom it was told of."""

    def __init__(self, *people):
        self.people, self.calls = list(people), 0

    def __call__(self, picture):
        self.calls += 1
        return self.people


class Middle(MatteEstimator):
    """The person is the middle of the picture."""

    def __call__(self, picture, person=None):
        height, width = picture.shape[:2]
        matte = np.zeros((height, width), np.float32)
        matte[height // 25 :, width // 6 : -width // 6] = 1
        return matte


@pytest.fixture
def photo():
    """A skin-coloured head and hands, a red shirt, blue trousers, before white."""
    height, width = SIZE
    picture = np.full((*SIZE, 3), 255, np.uint8)
    picture[:, width // 6 : -width // 6] = (170, 30, 40)
    picture[: int(0.22 * height), width // 6 : -width // 6] = (210, 160, 140)
    picture[int(0.56 * height) :, width // 6 : -width // 6] = (30, 40, 120)
    return picture


def told(*people, **settings) -> Preparation:
    return Preparation(keypoints=Told(*people), matte=Middle(), **settings)


def test_every_map_is_made(photo):
    found = told(figure())(photo, photo)
    assert found.mask.shape == SIZE and set(np.unique(found.mask)) == {0, 1}
    assert found.agnostic.shape == found.pose.shape == (*SIZE, 3)
    assert (found.agnostic[found.mask == 1] == 128).all()
    assert (found.agnostic[found.mask == 0] == photo[found.mask == 0]).all()
    assert found.keypoints.shape == (25, 3) and found.keypoints.dtype == np.float32
    assert found.parse.shape == SIZE and found.parse.max() <= 19
    assert found.garment_mask.shape == SIZE
    assert found.warnings == ()
    assert found.made["parse"] == "pseudo_parse" and found.made["keypoints"] == "Told"
    assert set(found.maps()) == {
        *("mask", "agnostic", "pose", "keypoints", "parse", "garment_mask")
    }


def test_head_and_trousers_stay_the_shirt_goes(photo):
    mask = told(figure())(photo, maps=["mask"]).mask
    shirt = np.zeros(SIZE, bool)
    shirt[40:66, 38:58] = True
    assert mask[shirt].all()
    assert not mask[8:22, 44:52].any()  # the face
    assert not mask[100:].any()


def test_what_is_given_is_used_and_nothing_is_run_for_it(photo):
    mask = np.zeros(SIZE, np.uint8)
    mask[50:80, 30:60] = 1
    preparation = told(figure())
    found = preparation(photo, given=dict(mask=mask), maps=["mask", "agnostic"])
    assert preparation.keypoints.calls == 0
    np.testing.assert_array_equal(found.mask, mask)
    assert found.made == {"mask": "given", "agnostic": "mask"}
    assert found.parse is None and found.pose is None


def test_given_keypoints_lead(photo):
    keypoints = figure().keypoints.copy()
    keypoints[:, 0] += 0.02
    found = told(figure())(photo, given=dict(keypoints=keypoints), maps=["pose", "keypoints"])
    np.testing.assert_array_equal(found.keypoints, keypoints)


def test_nobody_is_refused_in_a_sentence(photo):
    with pytest.raises(PreparationError, match="nobody is seen"):
        told()(photo)


@pytest.mark.parametrize(
    "people, said",
    [
        ([figure(), figure()], "2 people are seen"),
        ([figure(missing=(2,))], "a shoulder is outside"),
        ([figure(missing=(8, 9, 12, 10, 11, 13, 14))], "the hips are outside"),
        ([figure(missing=(4,))], "the right hand is not seen"),
        ([figure(mirrored=True)], "seen from behind"),
    ],
)
def test_what_is_uncertain_is_said_and_a_mask_is_made(photo, people, said):
    found = told(*people)(photo, maps=["mask", "pose"])
    assert any(said in warning for warning in found.warnings), found.warnings
    assert found.mask.any() and found.pose.any()


@pytest.mark.parametrize("missing", [(0, 15, 16, 17, 18), (2, 5), (1, 8), tuple(range(1, 15))])
def test_few_joints_never_crash(photo, missing):
    try:
        found = told(figure(missing=missing))(photo)
    except PreparationError as error:
        assert "empty" in str(error)
    else:
        assert found.mask.any()


@pytest.mark.parametrize("category", ["lower_body", "dresses"])
def test_other_categories(photo, category):
    mask = told(figure())(photo, category=category, maps=["mask"]).mask
    assert mask[70:110, 40:56].mean() > 0.9
    assert not mask[8:20, 44:52].any()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (dict(category="hats"), "category 'hats' is none of"),
        (dict(maps=["depth"]), "map 'depth' is none of"),
        (dict(given=dict(mask=np.zeros((5, 5), np.uint8))), r"given mask must be \(128, 96\)"),
        (dict(given=dict(mask=np.zeros(SIZE, np.uint8))), "the given mask is empty"),
        (dict(given=dict(mask=np.full(SIZE, 255, np.uint8))), "must hold 0 and 1"),
        (dict(given=dict(garment_mask=np.ones(SIZE, np.uint8))), "no garment"),
    ],
)
def test_bad_input_is_one_sentence(photo, arguments, said):
    with pytest.raises(ValueError, match=said):
        told(figure())(photo, **arguments)


def test_pictures_must_be_pictures(photo):
    with pytest.raises(ValueError, match=r"person must be a \(H, W, 3\) uint8"):
        told(figure())(photo.astype(np.float32))
    with pytest.raises(ValueError, match="at least 32 pixels"):
        told(figure())(photo[:8])


def test_settings_are_checked_and_built_from_configs():
    built = ESTIMATORS.build(dict(type="Preparation", convention="dresscode"))
    assert type(built.keypoints).__name__ == "BlazePose"
    with pytest.raises(ValueError, match="convention 'tiny' is none of"):
        Preparation(convention="tiny")
    with pytest.raises(ValueError, match="build_mask: 'size' is none of"):
        Preparation(build_mask=dict(size=3))


def test_missing_networks_name_the_command(photo, tmp_path, monkeypatch):
    from vtonlab.estimators import tflite

    monkeypatch.setenv("VTONLAB_CACHE", str(tmp_path))
    for network in (tflite.landmark_network, tflite.selfie_network, tflite.detector_network):
        network.cache_clear()
    with pytest.raises(FileNotFoundError, match=r"python tools/get_estimators\.py"):
        prepare(photo)


# real people ----------------------------------------------------------------------------------


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["00034_00", "00055_00"])
def test_a_mask_of_a_photograph_hides_the_garment_and_keeps_the_face(
    real_data, estimator_weights, name
):
    root = real_data / "vitonhd_mini/test"
    found = prepare(read_image(root / f"image/{name}.jpg"), maps=["mask", "keypoints"])
    parse = read_image(root / f"image-parse-v3/{name}.png", "labels")
    assert leak_share(found.mask, worn_garment(parse, "upper_body")) <= 0.005
    assert found.mask[parse == 13].mean() < 0.01
    assert found.warnings == ()


@pytest.mark.real_data
def test_a_garment_is_nobody(real_data, estimator_weights):
    garment = read_image(real_data / "vitonhd_mini/test/cloth/00017_00.jpg")
    with pytest.raises(PreparationError, match="nobody is seen"):
        prepare(garment, maps=["mask"])
