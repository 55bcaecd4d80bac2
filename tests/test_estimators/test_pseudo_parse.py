"""A parse from joints and colours: where the hem is, and what is garment whatever it looks like."""

import numpy as np
import pytest
from estimators_figure import SIZE, Middle, figure, photograph

from vtonlab.estimators.pseudo_parse import HAIR, PANTS, UPPER, lowest_hem, pseudo_parse
from vtonlab.estimators.scene import (
    find_face,
    hand_area,
    head_zone,
    nearer_arm,
    place_scene,
    trunk_core,
)
from vtonlab.estimators.worn_colours import find_hem, learn, skin_likeness, without

TRUE_HEM = (0.56 - 0.54) / (0.54 - 0.24)  # of `photograph`, in trunk lengths below the hips


def scene_of(picture, person=None):
    return place_scene(picture, person or figure(), Middle()(picture))


def hem_of(picture):
    scene = scene_of(picture)
    return find_hem(scene, skin_likeness(scene, find_face(scene)), lowest_hem(scene))


def parsed(picture, person=None):
    return pseudo_parse(picture, person or figure(), Middle()(picture))


def test_a_hem_is_where_the_colours_change():
    found = hem_of(photograph())
    assert abs(found.level - TRUE_HEM) <= 0.06  # two rows of pixels of 0.026 each
    assert found.step > 0.9


def test_one_colour_has_no_hem_and_all_of_it_is_garment():
    picture = photograph()
    picture[int(0.56 * SIZE[0]) :] = np.where(
        picture[int(0.56 * SIZE[0]) :] == 255, 255, (170, 30, 40)
    ).astype(np.uint8)
    assert hem_of(picture) is None
    labels = parsed(picture)
    assert (labels[45:85, 40:56] == UPPER).mean() > 0.95


def test_a_pattern_of_both_colours_still_ends_somewhere():
    """Stripes of red and blue above, blue below: only seen from below is that a step."""
    picture = photograph()
    shirt = picture[30 : int(0.56 * SIZE[0]), 16:-16]
    shirt[:, ::8] = shirt[:, 1::8] = (30, 40, 120)
    found = hem_of(picture)
    assert found is not None and abs(found.level - TRUE_HEM) <= 0.1


def test_a_coat_hangs_below_the_hem():
    """The trunk's colours on both sides of the trousers are garment."""
    picture = photograph()
    picture[30:95, 20:34] = picture[30:95, 62:76] = (60, 120, 70)
    labels = parsed(picture)
    assert (labels[75:90, 24:31] == UPPER).mean() > 0.9
    assert (labels[80:110, 42:54] == PANTS).mean() > 0.9


def test_long_hair_is_hair_and_cloth_of_its_colour_is_cloth():
    picture = photograph()
    picture[5:26, 30:66] = (50, 30, 20)  # around and behind the face
    picture[9:24, 41:55] = (210, 160, 140)
    picture[26:50, 32:38] = (50, 30, 20)  # a strand over the shirt
    labels = parsed(picture)
    assert (labels[30:46, 33:37] == HAIR).mean() > 0.8
    dark = np.where((picture == (170, 30, 40)).all(-1)[..., None], (50, 30, 20), picture)
    labels = parsed(dark.astype(np.uint8))
    assert not (labels[34:66, 38:58] == HAIR).any()


def test_a_shirt_of_skin_colour_is_a_shirt():
    picture = photograph()
    shirt = (picture == (170, 30, 40)).all(-1)
    labels = parsed(np.where(shirt[..., None], np.uint8((206, 162, 143)), picture))
    assert (labels[34:66, 38:58] == UPPER).mean() > 0.98


def test_an_arm_that_crosses_the_other_keeps_its_pixels():
    person = figure()
    for joint, x, y in ((4, 0.62, 0.44), (7, 0.38, 0.42)):  # both wrists across
        person.keypoints[joint, :2] = x, y
    scene = scene_of(photograph(), person)
    nearer = nearer_arm(scene)
    width, height = SIZE[::-1]
    assert nearer[int(0.3 * height), int(0.34 * width)] == 1  # the right upper arm
    assert nearer[int(0.3 * height), int(0.67 * width)] == 0


def test_places_without_joints_are_empty():
    person = figure(missing=tuple(range(25)))
    scene = scene_of(photograph(), person)
    assert find_face(scene) is None
    assert not hand_area(scene).any() and not trunk_core(scene).any()
    assert not head_zone(scene, None).any()


@pytest.mark.parametrize("cut", [0, 12])
def test_a_face_that_the_picture_cuts_is_guessed(cut):
    """Eyes at the picture's edge say nothing of where they are."""
    person = figure()
    for joint in (0, 15, 16, 17, 18):
        person.keypoints[joint, 1] = max(0, person.keypoints[joint, 1] - cut / 100)
    person.mouth[:, 1] -= cut / 100
    face = find_face(scene_of(photograph(), person))
    tall, unit = face.tall / SIZE[0], 0.54 - 0.24
    assert 0.1 * unit < tall < 0.3 * unit
    assert face.middle[1] < person.mouth[0, 1] * SIZE[0]


def test_colours_that_few_pixels_have_are_not_learnt():
    scene = scene_of(photograph())
    sample = np.zeros(SIZE, bool)
    sample[34:66, 38:58] = True
    sample[34, 38:40] = True
    colours = learn(scene, sample)
    assert colours.distance(scene.lab[50, 48]) < 1 and colours.other(scene.lab[100, 48])
    assert learn(scene, np.zeros(SIZE, bool)) is None
    assert (without(sample, sample) == sample).all()  # nothing would be left
    half = np.zeros(SIZE, bool)
    half[:50] = True
    assert not (without(sample, half) & half).any()
