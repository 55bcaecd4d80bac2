"""From photographs to maps: what is given is used, what is missing is made, what is unsure said."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from estimators_figure import SIZE, Middle, Told, figure, photograph

from vtonlab.estimators import Preparation, PreparationError, prepare
from vtonlab.ops.agnostic import leak_share, worn_garment
from vtonlab.registry import ESTIMATORS
from vtonlab.structures.pair_store import plain_settings
from vtonlab.utils.images import read_image


@pytest.fixture
def photo():
    return photograph()


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
        ([replace(figure(), beside=0.4)], "others are seen beside"),
    ],
)
def test_what_is_uncertain_is_said_and_a_mask_is_made(photo, people, said):
    found = told(*people)(photo, maps=["mask", "pose"])
    assert any(said in warning for warning in found.warnings), found.warnings
    assert found.mask.any() and found.pose.any()


def turned(person):
    """Lying: a quarter to the right."""
    keypoints = person.keypoints.copy()
    keypoints[:, :2] = np.where(keypoints[:, 2:] > 0, keypoints[:, 1::-1], 0)
    return replace(person, keypoints=keypoints)


def test_posture_is_judged_in_pixels(photo):
    """A wide picture squeezes nobody, and who lies is not seen from behind."""
    narrow = figure()
    narrow.keypoints[:, 0] = np.where(
        narrow.keypoints[:, 2] > 0, 0.5 + (narrow.keypoints[:, 0] - 0.5) / 4, 0
    )
    wide = np.pad(photo, ((0, 0), (144, 144), (0, 0)), mode="edge")
    assert told(narrow)(wide, maps=["keypoints"]).warnings == ()
    assert "seen from the side" in told(narrow)(photo, maps=["keypoints"]).warnings[0]
    assert "not upright" in told(turned(figure()))(photo, maps=["keypoints"]).warnings[0]


def test_one_colour_from_neck_to_knee_is_said(photo):
    red = np.where((photo == (30, 40, 120)).all(-1)[..., None], np.uint8((170, 30, 40)), photo)
    found = told(figure())(red, maps=["mask"])
    assert any("no hem is seen" in warning for warning in found.warnings)
    assert found.mask[90:110, 40:56].all()  # all of it is hidden
    assert not told(figure())(red, category="dresses", maps=["mask"]).warnings


def test_others_stay_out_of_the_mask():
    """Two figures side by side: each pixel belongs to the nearer one's bones."""
    wide = np.concatenate([photograph()] * 2, 1)
    people = []
    for shift in (0, 0.5):
        person = figure()
        keypoints, hands, mouth = (a.copy() for a in (person.keypoints, person.hands, person.mouth))
        for points in (keypoints, hands, mouth):
            points[..., 0] = np.where(points[..., 2] > 0, points[..., 0] / 2 + shift, 0)
        people.append(replace(person, keypoints=keypoints, hands=hands, mouth=mouth))
    found = told(*people)(wide, maps=["mask", "matte"])
    assert found.mask[:, :96].any() and not found.mask[:, 110:].any()
    assert not found.matte[:, 100:].any()


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


def test_settings_tell_all_that_decides_the_maps():
    """Lists, mappings and estimators within estimators; nothing that a call leaves behind."""
    ways = [
        dict(parse=dict(type="TransformersParser", model="x", labels="lip")),
        dict(parse=dict(type="TransformersParser", model="x", labels="atr")),
        dict(parse=dict(type="TransformersParser", model="x", labels="atr", size=(473, 473))),
        dict(keypoints=dict(type="SimCCPose", model="a.onnx", size=(256, 192))),
        dict(keypoints=dict(type="SimCCPose", model="a.onnx")),
        dict(
            keypoints=dict(
                type="SimCCPose", model="a.onnx", matte=dict(type="SelfieMatte", radius=0)
            )
        ),
        {},
    ]
    told_of = [plain_settings(Preparation(**way).settings()) for way in ways]
    assert all(a != b for a, b in itertools.combinations(told_of, 2))
    assert json.loads(json.dumps(told_of)) == told_of
    parser = Preparation(**ways[0])
    parser.parse.network = object()
    assert plain_settings(parser.settings()) == told_of[0]
