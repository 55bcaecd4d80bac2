"""A parse without a parser: LIP labels from joints, a matte and the picture's own colours.

Made for masks that hide the garment, not for looking at. Every pixel of the person costs, for each
class (hair, skin, what is worn above, what is worn below), what its colour and its place say
against it; costs are smoothed along the picture's edges, and the least one decides (cost-volume
filtering, Rhemann et al. 2011). Colours are learnt in the picture itself: skin from the face, hair
from around it, garments from both sides of the hem. What nothing decides is called garment.
"""

import cv2
import numpy as np

from vtonlab.estimators.base import Person
from vtonlab.estimators.mattes import guided_filter
from vtonlab.estimators.scene import (
    LEGS,
    Face,
    Scene,
    arm_area,
    find_face,
    hand_area,
    head_zone,
    joined,
    leg_area,
    nearer_arm,
    place_scene,
    trunk_core,
    upright,
)
from vtonlab.estimators.worn_colours import (
    Hem,
    find_hem,
    learn,
    skin_distance,
    skin_likeness,
    without,
)

HAIR, UPPER, PANTS, NECK_SKIN, FACE = 2, 5, 9, 10, 13
LEFT_ARM, RIGHT_ARM, LEFT_LEG, RIGHT_LEG, LEFT_SHOE, RIGHT_SHOE = 14, 15, 16, 17, 18, 19
_HAIR, _SKIN, _ABOVE, _BELOW = range(4)  # classes
_FULL = 30.0  # distance in Lab that costs 1, and above which nothing costs more
_NEVER = 9.0  # costs more than any colour
_MARGIN = {_HAIR: 0.1, _SKIN: 0.0}  # by which a colour must be nearer to the class than to cloth


def pseudo_parse(picture: np.ndarray, person: Person, matte: np.ndarray) -> np.ndarray:
    """LIP labels (H, W) uint8: hair, face, neck, upper clothes (dresses and coats too), arms,
    trousers (whatever is worn below a hem), legs and shoes.

    Args:
        picture: (H, W, 3) uint8.
        person: whose joints are known; at least shoulders, or nose and hips.
        matte: (H, W) float32 in [0, 1].
    """
    scene = place_scene(picture, person, matte)
    face = find_face(scene)
    head = head_zone(scene, face)
    hem = find_hem(scene, skin_likeness(scene, face), lowest_hem(scene))
    classes = classify(scene, face, head, hem)
    labels = _compose(scene, face, head, classes)
    return cv2.resize(labels, picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)


def lowest_hem(scene: Scene) -> float:
    """Down to which level a hem is looked for: the knees, or the picture's end."""
    knees = [k for _, k, _ in LEGS if scene.known[k]]
    below = [0.9]
    if knees:
        y, x = np.rint(scene.points[knees].mean(0)).astype(int)[::-1]
        height, width = scene.body.shape
        below.append(float(scene.level[min(y, height - 1), min(x, width - 1)]))
    middle = scene.body & (np.abs(scene.aside) < 0.3)
    if middle.any():
        below.append(float(np.quantile(scene.level[middle], 0.995)))
    return min(below)


# classes ------------------------------------------------------------------------------------------


def classify(scene: Scene, face: Face | None, head: np.ndarray, hem: Hem | None) -> np.ndarray:
    """(H, W) uint8: which of hair, skin, worn above and worn below each pixel is.

    Skin that hangs together with no limb and no head, and what is worn above and hangs together
    with no trunk, are the next likely class.
    """
    colours = _colour_costs(scene, face, head, hem)
    costs = colours + _place_costs(scene, face, head, hem)
    grey = cv2.cvtColor(scene.picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    radius = max(2, round(0.025 * scene.unit))
    smooth = np.stack([guided_filter(grey, cost, radius, 1e-3) for cost in costs])
    limbs = arm_area(scene, 0.1) | leg_area(scene, 0.1) | hand_area(scene)
    for number in (_HAIR, _SKIN):  # what might be garment is garment
        smooth[number][~head & (colours[number] + _MARGIN[number] > colours[_ABOVE])] = _NEVER
    for number, roots in ((_SKIN, head | limbs.any(0)), (_ABOVE, trunk_core(scene))):
        here = scene.body & (smooth.argmin(0) == number)
        if (here & roots).any():
            smooth[number][here & ~joined(here, here & roots)] = _NEVER
    return smooth.argmin(0).astype(np.uint8)


def _colour_costs(scene, face, head, hem) -> np.ndarray:
    """(4, H, W) float32: 0 for a colour of the class, 1 for any far from it."""
    costs = np.ones((4, *scene.body.shape), np.float32)
    away = skin_distance(scene, face)
    skin = (away < 3) & scene.body
    costs[_SKIN] = np.clip(away / 5, 0, 1)
    hair = None
    if face is not None:
        across, above = upright(scene, face)
        ring = (across**2 + above**2 > 1.3) & (above > -0.3) & (np.abs(across) < 2)
        hair = learn(scene, without(head & ring, skin, 0.2), 3)
    hairy = np.zeros_like(scene.body)
    if hair is not None:
        costs[_HAIR] = np.minimum(hair.distance(scene.lab) / _FULL, 1)
        hairy = ~hair.other(scene.lab) & (scene.level < -0.3)
    level = scene.level
    trunk = scene.body & (np.abs(scene.aside) < 0.45) & (level > -0.75) & ~skin & ~head
    trunk &= level < (hem.level - 0.05 if hem else 0.2)
    trunk = without(trunk | (trunk_core(scene) & ~head), arm_area(scene, 0.25).any(0), 0.3)
    worn = learn(scene, without(trunk, hairy), 5)
    if worn is not None:
        costs[_ABOVE] = np.minimum(worn.distance(scene.lab) / _FULL, 1)
    if hem is not None:
        low = scene.body & (level > hem.level + 0.06) & (np.abs(scene.aside) < 0.35)
        low &= ~hand_area(scene).any(0) & (level < hem.level + 0.6)
        if worn is not None:
            low = without(low, ~worn.other(scene.lab))
        below = learn(scene, without(low, skin), 5)
        if below is not None:
            costs[_BELOW] = np.minimum(below.distance(scene.lab) / _FULL, 1)
    return costs


def _place_costs(scene: Scene, face: Face | None, head: np.ndarray, hem: Hem | None) -> np.ndarray:
    """(4, H, W) float32: what the place says against each class."""
    level = scene.level
    costs = np.zeros((4, *scene.body.shape), np.float32)
    costs[_HAIR] = costs[_SKIN] = _NEVER
    split = hem.level if hem else 0.45
    middle = np.abs(scene.aside) < 0.3  # necklines, and what shows above the hem
    costs[_SKIN][middle & ((level < -0.5) | (np.abs(level - split) < 0.2))] = 0.45
    if face is not None:
        across, above = upright(scene, face)
        hanging = (np.abs(across) < 2.6) & (above > -5) & (level < -0.2)
        hanging &= (np.abs(across) > 0.75) | (above > -1)  # none hangs across the throat
        costs[_HAIR][hanging] = 0.2
        costs[_HAIR][head] = 0.0
        neck = (np.abs(across) < 0.9) & (level < -0.75)
        costs[_SKIN][neck] = 0.0
    limbs = arm_area(scene, 0.4).any(0) | leg_area(scene, 0.4).any(0)
    costs[_SKIN][limbs] = np.minimum(costs[_SKIN][limbs], 0.15)
    hands = hand_area(scene).any(0)
    costs[_SKIN][hands] = 0.0
    costs[_ABOVE] = 0.6 * np.clip((-1.1 - level) / 0.2, 0, 1)  # above the shoulders: a collar
    costs[_ABOVE][head] = 0.8
    sleeves = arm_area(scene, 0.2).any(0) | hands
    costs[_ABOVE] += np.where(sleeves, 0, 0.6 * np.clip((level - split) / 1.0, 0, 1))
    costs[_BELOW] = np.clip((split - level) / 0.25, 0, 1) * 1.2 + 0.2 * sleeves
    costs[_BELOW][level < split - 0.4] = _NEVER
    return costs


# putting it together ------------------------------------------------------------------------------


def _compose(scene: Scene, face: Face | None, head: np.ndarray, classes: np.ndarray) -> np.ndarray:
    labels = np.zeros(scene.body.shape, np.uint8)
    labels[scene.body] = UPPER
    labels[scene.body & (classes == _BELOW)] = PANTS
    hands, bare = hand_area(scene), scene.body & (classes == _SKIN)
    arms, nearer = arm_area(scene, 0.4), nearer_arm(scene)
    for side, label in enumerate((LEFT_ARM, RIGHT_ARM)):
        labels[arms[side] & bare & (nearer == side)] = label
    for label, area in zip((LEFT_ARM, RIGHT_ARM), hands, strict=True):
        found = cv2.morphologyEx((area & bare).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5)))
        labels[area & scene.body & (found > 0)] = label
    _legs(labels, scene, bare, classes == _BELOW)
    labels[head] = HAIR
    if face is not None:
        across, above = upright(scene, face)
        hair = (scene.body & (classes == _HAIR)).astype(np.uint8)
        hair = cv2.morphologyEx(hair, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
        labels[joined(hair, head)] = HAIR
        inside = np.where(above > 0, across**2 + above**2, np.abs(across) ** 3 - above**3)
        labels[scene.body & ((inside < 1.05) | ((inside < 1.7) & (head | bare)))] = FACE
        neck = (above < -0.9) & (above > -2.5) & (np.abs(across) < 1.2)
        labels[neck & bare & (labels == UPPER)] = NECK_SKIN
    return labels


def _legs(labels: np.ndarray, scene: Scene, bare: np.ndarray, below: np.ndarray) -> None:
    """Bare legs and shoes, left and right."""
    y, x = np.mgrid[: labels.shape[0], : labels.shape[1]]
    for label, shoe, (_, knee, ankle) in (
        (LEFT_LEG, LEFT_SHOE, LEGS[0]),
        (RIGHT_LEG, RIGHT_SHOE, LEGS[1]),
    ):
        if not scene.known[knee]:
            continue
        near = np.abs(x - scene.points[knee, 0]) < 0.5 * scene.unit
        labels[near & bare & np.isin(labels, (PANTS, UPPER)) & (scene.level > 0.2)] = label
        if scene.known[ankle]:
            near = np.abs(x - scene.points[ankle, 0]) < 0.5 * scene.unit
            under = (y - scene.points[ankle, 1]) / scene.unit
            foot = near & ((under > 0.1) | ((under > 0.04) & ~below))
            labels[foot & np.isin(labels, (PANTS, UPPER)) & ~bare] = shoe
