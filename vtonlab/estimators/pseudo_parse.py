"""A parse without a parser: LIP labels from joints, a matte and the picture's own colours.

Made for masks that hide the garment, not for looking at: what might be garment is called garment.
Head, hands and what is worn below are told from it by where they are and by colours: GrabCut
(Rother et al. 2004) learns the garment's from the trunk and the others' from face, hair, thighs and
background.
"""

from typing import NamedTuple

import cv2
import numpy as np

from vtonlab.estimators.base import Person
from vtonlab.ops.agnostic_shapes import (
    L_ANKLE,
    L_ELBOW,
    L_HIP,
    L_KNEE,
    L_SHOULDER,
    L_WRIST,
    MID_HIP,
    NECK,
    NOSE,
    R_ANKLE,
    R_ELBOW,
    R_HIP,
    R_KNEE,
    R_SHOULDER,
    R_WRIST,
    band,
    body_unit,
    disc,
)

HAIR, UPPER, DRESS, PANTS, NECK_SKIN, FACE = 2, 5, 6, 9, 10, 13
LEFT_ARM, RIGHT_ARM, LEFT_LEG, RIGHT_LEG, LEFT_SHOE, RIGHT_SHOE = 14, 15, 16, 17, 18, 19
R_EYE, L_EYE, R_EAR, L_EAR = 15, 16, 17, 18
WORK = 512  # pixels of the longer side
_OTHER, _HAIR = 16, 18  # distances in Lab: of another garment, within one head of hair
_SKIN_REACH = 3.0  # standard deviations of the face's colours
_ARMS = ((L_SHOULDER, L_ELBOW, L_WRIST), (R_SHOULDER, R_ELBOW, R_WRIST))
_LEGS = ((L_HIP, L_KNEE, L_ANKLE), (R_HIP, R_KNEE, R_ANKLE))


class Scene(NamedTuple):
    """One person at working size, in pixels."""

    picture: np.ndarray  # (H, W, 3) uint8 RGB, smoothed
    body: np.ndarray  # (H, W) bool, the matte
    points: np.ndarray  # (25, 2)
    known: np.ndarray  # (25,) bool
    hands: np.ndarray  # (2, 3, 3): index, pinky, thumb of left and right; x, y, confidence
    mouth: np.ndarray  # (2, 3)
    unit: float  # length of the trunk


class Face(NamedTuple):
    """Where the face is: middle, half axes along and across, and the way up."""

    middle: np.ndarray
    tall: float
    wide: float
    up: np.ndarray
    chin: np.ndarray


def pseudo_parse(picture: np.ndarray, person: Person, matte: np.ndarray) -> np.ndarray:
    """LIP labels (H, W) uint8: hair, face, neck, upper or dress, arms, trousers, legs and shoes.

    Args:
        picture: (H, W, 3) uint8.
        person: whose joints are known; at least shoulders, or nose and hips.
        matte: (H, W) float32 in [0, 1].
    """
    scene = place_scene(picture, person, matte)
    face = find_face(scene)
    head = head_zone(scene, face)
    skin = skin_likeness(scene, face)
    garment = _garment(scene, face, head)
    labels = _compose(scene, face, head, skin, garment)
    return cv2.resize(labels, picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)


def place_scene(picture: np.ndarray, person: Person, matte: np.ndarray) -> Scene:
    """The person at `WORK` pixels; maps made there are resized back by whoever asks for them."""
    scale = min(1.0, WORK / max(picture.shape[:2]))
    size = tuple(max(1, round(n * scale)) for n in picture.shape[1::-1])
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    soft = cv2.resize(matte, size, interpolation=cv2.INTER_AREA)
    points = person.keypoints[:, :2] * size
    known = person.keypoints[:, 2] > 0
    hands, mouth = person.hands.copy(), person.mouth.copy()
    hands[..., :2] *= size
    mouth[..., :2] *= size
    unit = body_unit(points, known, size[1])
    smooth = cv2.bilateralFilter(small, 5, 20, 3)
    return Scene(smooth, soft > 0.5, points, known, hands, mouth, unit)


# the head -----------------------------------------------------------------------------------------


def find_face(scene: Scene) -> Face | None:
    """From eyes, ears and mouth; None for a person from behind or without a head."""
    points, known = scene.points, scene.known
    eyes = [points[k] for k in (R_EYE, L_EYE) if known[k]]
    mouth = scene.mouth[scene.mouth[:, 2] > 0, :2]
    if not eyes or not len(mouth):
        return None
    eye, lips = np.mean(eyes, 0), mouth.mean(0)
    length = max(float(np.linalg.norm(eye - lips)), 0.04 * scene.unit)
    up = (eye - lips) / max(float(np.linalg.norm(eye - lips)), 1e-6)
    ears = [points[k] for k in (R_EAR, L_EAR) if known[k]]
    across = np.array([-up[1], up[0]])
    wide = max([abs(float((ear - eye) @ across)) for ear in ears] + [0.8 * length])
    top, chin = eye + 1.0 * length * up, lips - 0.95 * length * up
    middle = (top + chin) / 2
    return Face(middle, float(np.linalg.norm(top - chin)) / 2, min(wide, 1.3 * length), up, chin)


def _upright(scene: Scene, face: Face) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel across and above the face's middle, in half axes of the face."""
    y, x = np.mgrid[: scene.body.shape[0], : scene.body.shape[1]]
    dx, dy = x + 0.5 - face.middle[0], y + 0.5 - face.middle[1]
    above = (dx * face.up[0] + dy * face.up[1]) / face.tall
    across = (-dx * face.up[1] + dy * face.up[0]) / face.wide
    return across, above


def head_zone(scene: Scene, face: Face | None) -> np.ndarray:
    """(H, W) bool: where only head and hair can be; the whole of it is kept."""
    zone = np.zeros(scene.body.shape, bool)
    points, known = scene.points, scene.known
    if face is not None:
        across, above = _upright(scene, face)
        zone = (above > -0.55) & (np.abs(across) < 3) & (above < 4)
        zone |= across**2 + above**2 < 1
    elif known[NECK]:  # from behind: what is above the shoulders' middle
        y, x = np.mgrid[: zone.shape[0], : zone.shape[1]]
        top = points[NECK, 1] - 0.22 * scene.unit
        zone = (y < top) & (np.abs(x - points[NECK, 0]) < 0.5 * scene.unit)
    return zone & scene.body & ~_arm_area(scene, 0.18).any(0)


def skin_likeness(scene: Scene, face: Face | None) -> np.ndarray:
    """(H, W) bool: colours like those of the face (of any skin, where no face is seen)."""
    lab = cv2.cvtColor(scene.picture, cv2.COLOR_RGB2LAB).astype(np.float32)
    if face is None:
        return (lab[..., 1] > 134) & (lab[..., 2] > 132) & (lab[..., 0] > 40) & scene.body
    across, above = _upright(scene, face)
    inner = (across**2 + (above + 0.15) ** 2 < 0.45) & scene.body
    sample = lab[inner] if inner.sum() > 20 else lab[scene.body]
    centre = np.median(sample, 0)
    spread = 1.48 * np.median(np.abs(sample - centre), 0)
    spread = np.clip(spread, (14, 3.5, 4.5), (30, 8, 9))
    distance = np.sqrt((((lab - centre) / spread) ** 2 * (0.5, 1, 1)).sum(-1))
    return (distance < _SKIN_REACH) & scene.body


# the garment --------------------------------------------------------------------------------------


def _arm_area(scene: Scene, width: float) -> np.ndarray:
    """(2, H, W) bool: bands along the left and the right arm, ``width`` trunks wide at elbows."""
    areas = np.zeros((2, *scene.body.shape), np.uint8)
    for area, (shoulder, elbow, wrist) in zip(areas, _ARMS, strict=True):
        for a, b in ((shoulder, elbow), (elbow, wrist)):
            if scene.known[a] and scene.known[b]:
                band(area, scene.points[a], scene.points[b], width * scene.unit)
                disc(area, scene.points[b], width * scene.unit / 2)
    return areas.astype(bool)


def hand_area(scene: Scene) -> np.ndarray:
    """(2, H, W) bool: left and right hand, from the wrist to the finger tips."""
    areas = np.zeros((2, *scene.body.shape), bool)
    y, x = np.mgrid[: scene.body.shape[0], : scene.body.shape[1]]
    places = np.stack([x, y], -1) + 0.5
    for area, hand, (_, elbow, wrist) in zip(areas, scene.hands, _ARMS, strict=True):
        knuckles = hand[:2][hand[:2, 2] > 0, :2]
        if not scene.known[wrist] or not len(knuckles):
            continue
        start = scene.points[wrist]
        along = knuckles.mean(0) - start
        length = float(np.linalg.norm(along))
        if scene.known[elbow]:
            fore = start - scene.points[elbow]
            length = max(length, 0.28 * float(np.linalg.norm(fore)), 0.10 * scene.unit)
            if np.linalg.norm(along) < 0.3 * length:
                along = fore
        along = along / max(float(np.linalg.norm(along)), 1e-6)
        reach = (places - start) @ along
        aside = np.abs((places - start) @ np.array([-along[1], along[0]]))
        oval = ((reach / length - 1.15) / 1.25) ** 2 + (aside / length / 0.95) ** 2 < 1
        area[:] = oval & (reach > 0.12 * length)
    return areas & scene.body


def _below(scene: Scene, level: float) -> np.ndarray:
    """(H, W) bool: beyond ``level`` trunk lengths below the hips, along the trunk."""
    y, x = np.mgrid[: scene.body.shape[0], : scene.body.shape[1]]
    start, down = _trunk(scene)
    return ((x - start[0]) * down[0] + (y - start[1]) * down[1]) / scene.unit > level


def _trunk(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """The middle of the hips, known or guessed, and the way down the trunk."""
    points, known = scene.points, scene.known
    if known[MID_HIP] and known[NECK]:
        down = points[MID_HIP] - points[NECK]
        return points[MID_HIP], down / max(float(np.linalg.norm(down)), 1e-6)
    if known[NECK]:
        return points[NECK] + [0, scene.unit], np.array([0.0, 1.0])
    if known[MID_HIP]:
        return points[MID_HIP], np.array([0.0, 1.0])
    return points[NOSE] + [0, 1.5 * scene.unit], np.array([0.0, 1.0])


def _garment(scene: Scene, face: Face | None, head: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels of the colours of the trunk, as far as they hang together with it."""
    seeds = np.full(scene.body.shape, cv2.GC_BGD, np.uint8)
    seeds[scene.body] = cv2.GC_PR_FGD
    seeds[scene.body & _below(scene, 0.35)] = cv2.GC_PR_BGD
    core = _trunk_core(scene) & scene.body
    if not core.any():
        return scene.body & ~head
    seeds[head] = cv2.GC_BGD
    seeds[core & ~head] = cv2.GC_FGD
    thighs = _thighs(scene) & scene.body & ~core
    seeds[thighs | _other_colours(scene, core)] = cv2.GC_BGD
    if not (seeds == cv2.GC_BGD).any():
        return scene.body & ~head
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    picture = np.ascontiguousarray(scene.picture[..., ::-1])
    cv2.grabCut(picture, seeds, None, *models, 3, cv2.GC_INIT_WITH_MASK)
    return np.isin(seeds, (cv2.GC_FGD, cv2.GC_PR_FGD)) & scene.body


def _other_colours(scene: Scene, core: np.ndarray) -> np.ndarray:
    """(H, W) bool: what is worn below the hips, where its colours are none of the trunk's."""
    low = scene.body & _below(scene, 0.2) & ~hand_area(scene).any(0)
    low &= ~_arm_area(scene, 0.3).any(0)
    if low.sum() < 30:
        return np.zeros_like(low)
    other = colour_distance(scene, core) > _OTHER
    below = low & ~_below(scene, 0.6)
    return low & other if below.any() and other[below].mean() > 0.8 else np.zeros_like(low)


def colour_distance(scene: Scene, sample: np.ndarray, count: int = 4) -> np.ndarray:
    """(H, W) float32: distance in Lab from the nearest of ``count`` colours of a sample."""
    lab = cv2.cvtColor(scene.picture, cv2.COLOR_RGB2LAB).astype(np.float32)
    values = lab[sample][:: max(1, int(sample.sum()) // 4000)]
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 10, 1.0)
    count = min(count, len(values))
    _, _, centres = cv2.kmeans(values, count, None, stop, 1, cv2.KMEANS_PP_CENTERS)
    return np.min([np.linalg.norm(lab - centre, axis=-1) for centre in centres], 0)


def long_hair(scene: Scene, face: Face, head: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """(H, W) bool: hair that falls below the chin, where its colour is not the garment's."""
    across, above = _upright(scene, face)
    seeds = head & ~skin & (across**2 + above**2 > 1.2) & (above > -0.4)
    core = _trunk_core(scene) & scene.body
    if seeds.sum() < 60 or not core.any():
        return np.zeros_like(head)
    hair, worn = colour_distance(scene, seeds, 3), colour_distance(scene, core)
    found = scene.body & (np.abs(across) < 2.5) & (above > -4) & (above < -0.3)
    found &= (hair < _HAIR) & (worn > hair + _HAIR)
    found = cv2.morphologyEx((found & ~skin).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5)))
    _, pieces = cv2.connectedComponents((found.astype(bool) | seeds).astype(np.uint8))
    joined = np.unique(pieces[seeds])
    return found.astype(bool) & np.isin(pieces, joined[joined > 0])


def _trunk_core(scene: Scene) -> np.ndarray:
    """The middle of the trunk: surely garment, whoever wears it."""
    core = np.zeros(scene.body.shape, np.uint8)
    points, known = scene.points, scene.known
    hip, down = _trunk(scene)
    if known[L_SHOULDER] and known[R_SHOULDER]:
        middle = (points[L_SHOULDER] + points[R_SHOULDER]) / 2
        half = (points[L_SHOULDER] - points[R_SHOULDER]) / 2
        top, low = middle + 0.35 * scene.unit * down, hip - 0.25 * scene.unit * down
        corners = [top - 0.55 * half, top + 0.55 * half, low + 0.5 * half, low - 0.5 * half]
        cv2.fillPoly(core, [np.rint(corners).astype(np.int32)], 1)
    return core.astype(bool)


def _thighs(scene: Scene) -> np.ndarray:
    """The middle of the thighs below any shirt: surely worn below, unless a dress or coat is."""
    area = np.zeros(scene.body.shape, np.uint8)
    for hip, knee, _ in _LEGS:
        if scene.known[hip] and scene.known[knee]:
            start, end = scene.points[hip], scene.points[knee]
            band(area, start + 0.7 * (end - start), end, 0.12 * scene.unit)
    return area.astype(bool)


# putting it together ------------------------------------------------------------------------------


def _compose(scene, face, head, skin, garment) -> np.ndarray:
    labels = np.zeros(scene.body.shape, np.uint8)
    low = _below(scene, 0.0)
    upper = scene.body & ~(low & ~garment & _below(scene, 0.12))
    labels[scene.body] = PANTS
    labels[upper] = UPPER
    arms = _arm_area(scene, 0.36)
    for label, area in zip((LEFT_ARM, RIGHT_ARM), arms, strict=True):
        labels[area & skin & ~garment] = label
    for label, area in zip((LEFT_ARM, RIGHT_ARM), hand_area(scene), strict=True):
        bare = cv2.morphologyEx((area & skin).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5)))
        seen = (area & skin).sum() > 0.2 * area.sum()  # else gloves, or light that hides its colour
        labels[area & scene.body & ((bare > 0) if seen else ~garment)] = label
    _legs(labels, scene, skin)
    labels[head] = HAIR
    if face is not None:
        across, above = _upright(scene, face)
        inside = across**2 + above**2 < 1.08
        labels[inside & scene.body & (head | skin)] = FACE
        neck = (above < -0.9) & (above > -2.5) & (np.abs(across) < 1.2)
        labels[neck & skin & ~garment & (labels == UPPER)] = NECK_SKIN
        labels[long_hair(scene, face, head, skin)] = HAIR
    return labels


def _legs(labels: np.ndarray, scene: Scene, skin: np.ndarray) -> None:
    """Bare legs and shoes, left and right."""
    y, x = np.mgrid[: labels.shape[0], : labels.shape[1]]
    for label, shoe, (_, knee, ankle) in (
        (LEFT_LEG, LEFT_SHOE, _LEGS[0]),
        (RIGHT_LEG, RIGHT_SHOE, _LEGS[1]),
    ):
        if not scene.known[knee]:
            continue
        reach = 0.5 * scene.unit
        near = np.abs(x - scene.points[knee, 0]) < reach
        labels[near & skin & (labels == PANTS)] = label
        if scene.known[ankle]:
            near = np.abs(x - scene.points[ankle, 0]) < reach
            foot = near & (y > scene.points[ankle, 1] + 0.04 * scene.unit)
            labels[foot & np.isin(labels, (PANTS, LEFT_LEG, RIGHT_LEG))] = shoe
