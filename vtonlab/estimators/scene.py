"""One person at working size, and where the parts of a body may be, from joints alone."""

from itertools import pairwise
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

R_EYE, L_EYE, R_EAR, L_EAR = 15, 16, 17, 18
ARMS = ((L_SHOULDER, L_ELBOW, L_WRIST), (R_SHOULDER, R_ELBOW, R_WRIST))
LEGS = ((L_HIP, L_KNEE, L_ANKLE), (R_HIP, R_KNEE, R_ANKLE))
WORK = 512  # pixels of the longer side
_EYE_TO_MOUTH = 0.15  # trunk lengths
_MOUTH_TO_CHIN = 0.8  # of the way from the eyes to the mouth


class Scene(NamedTuple):
    """One person at working size, in pixels."""

    picture: np.ndarray  # (H, W, 3) uint8 RGB, smoothed
    lab: np.ndarray  # (H, W, 3) float32: the same in OpenCV's Lab
    body: np.ndarray  # (H, W) bool, the matte
    points: np.ndarray  # (25, 2)
    known: np.ndarray  # (25,) bool
    hands: np.ndarray  # (2, 3, 3): index, pinky, thumb of left and right; x, y, confidence
    mouth: np.ndarray  # (2, 3)
    unit: float  # length of the trunk
    level: np.ndarray  # (H, W) float32: trunk lengths below the hips, along the trunk
    aside: np.ndarray  # (H, W) float32: trunk lengths from the trunk's axis, positive at its left


class Face(NamedTuple):
    """Where the face is: middle, half axes along and across, and the way up."""

    middle: np.ndarray
    tall: float
    wide: float
    up: np.ndarray
    chin: np.ndarray


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
    lab = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB).astype(np.float32)
    start, down = trunk_axis(points, known, unit)
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float32)
    dx, dy = (x + 0.5 - start[0]) / unit, (y + 0.5 - start[1]) / unit
    level, aside = dx * down[0] + dy * down[1], dx * down[1] - dy * down[0]
    body = _of_joints(soft > 0.5, points, known, unit)
    return Scene(
        smooth, lab, body, points, known, hands, mouth, unit, np.float32(level),
        np.float32(aside),
    )  # fmt: skip


def _of_joints(body: np.ndarray, points: np.ndarray, known: np.ndarray, unit: float) -> np.ndarray:
    """The pieces of a matte (H, W) bool that hold a joint."""
    seeds = np.zeros(body.shape, np.uint8)
    for point in points[known]:
        disc(seeds, point, 0.06 * unit)
    return joined(body, body & (seeds > 0))


def joined(area: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The pieces of ``area`` (H, W) bool that touch ``seeds``."""
    _, pieces = cv2.connectedComponents((area | seeds).astype(np.uint8))
    found = np.unique(pieces[seeds & (pieces > 0)])
    return area & np.isin(pieces, found)


def trunk_axis(points: np.ndarray, known: np.ndarray, unit: float):
    """The middle of the hips (2,), known or guessed, and the way down the trunk (2,)."""
    if known[MID_HIP] and known[NECK]:
        down = points[MID_HIP] - points[NECK]
        return points[MID_HIP], down / max(float(np.linalg.norm(down)), 1e-6)
    if known[NECK]:
        return points[NECK] + [0, unit], np.array([0.0, 1.0])
    if known[MID_HIP]:
        return points[MID_HIP], np.array([0.0, 1.0])
    return points[NOSE] + [0, 1.5 * unit], np.array([0.0, 1.0])


# the head -----------------------------------------------------------------------------------------


def find_face(scene: Scene) -> Face | None:
    """From eyes, ears, nose and mouth; None for a person from behind or without a head.

    Where the picture cuts the eyes off, they are guessed above the mouth.
    """
    points, known = scene.points, scene.known
    eyes = [points[k] for k in (R_EYE, L_EYE) if known[k] and points[k, 1] > 1]  # not cut off
    mouth = scene.mouth[scene.mouth[:, 2] > 0, :2]
    if not len(mouth) or not (eyes or known[NECK]):
        return None
    lips = mouth.mean(0)
    if eyes:
        eye = np.mean(eyes, 0)
    else:
        way = lips - points[NECK]
        eye = lips + way * (_EYE_TO_MOUTH * scene.unit / max(float(np.linalg.norm(way)), 1e-6))
    length = max(float(np.linalg.norm(eye - lips)), 0.04 * scene.unit)
    up = (eye - lips) / max(float(np.linalg.norm(eye - lips)), 1e-6)
    across = np.array([-up[1], up[0]])
    ends = [(points[k] - eye) @ across for k in (R_EAR, L_EAR, NOSE) if known[k]]
    ends += [(e - eye) @ across + side * 0.35 * length for e in eyes for side in (-1, 1)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 0.0)
    wide = np.clip((high - low) / 2, 0.8 * length, 1.3 * length)
    top, chin = eye + 1.0 * length * up, lips - _MOUTH_TO_CHIN * length * up
    middle = (top + chin) / 2 + (low + high) / 2 * across
    return Face(middle, float(np.linalg.norm(top - chin)) / 2, float(wide), up, chin)


def upright(scene: Scene, face: Face) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel across and above the face's middle, in half axes of the face."""
    y, x = np.mgrid[: scene.body.shape[0], : scene.body.shape[1]].astype(np.float32)
    dx, dy = x + 0.5 - np.float32(face.middle[0]), y + 0.5 - np.float32(face.middle[1])
    above = (dx * face.up[0] + dy * face.up[1]) / face.tall
    across = (-dx * face.up[1] + dy * face.up[0]) / face.wide
    return across, above


def head_zone(scene: Scene, face: Face | None) -> np.ndarray:
    """(H, W) bool: where only head and hair can be; the whole of it is kept."""
    zone = np.zeros(scene.body.shape, bool)
    points, known = scene.points, scene.known
    if face is not None:
        across, above = upright(scene, face)
        zone = (above > -0.55) & (np.abs(across) < 3) & (above < 4)
        zone |= across**2 + above**2 < 1
    elif known[NECK]:  # from behind: what is above the shoulders' middle
        y, x = np.mgrid[: zone.shape[0], : zone.shape[1]]
        top = points[NECK, 1] - 0.22 * scene.unit
        zone = (y < top) & (np.abs(x - points[NECK, 0]) < 0.5 * scene.unit)
    return zone & scene.body & ~arm_area(scene, 0.18).any(0)


# trunk and limbs ----------------------------------------------------------------------------------


def arm_area(scene: Scene, width: float) -> np.ndarray:
    """(2, H, W) bool: bands along the left and the right arm, ``width`` trunks wide at elbows."""
    areas = np.zeros((2, *scene.body.shape), np.uint8)
    for area, bones in zip(areas, _arm_bones(scene), strict=True):
        for start, end in bones:
            band(area, start, end, width * scene.unit)
            disc(area, end, width * scene.unit / 2)
    return areas.astype(bool)


def nearer_arm(scene: Scene) -> np.ndarray:
    """(H, W): 0 where the left arm's bones are nearer, 1 where the right one's are."""
    away = []
    for bones in _arm_bones(scene):
        line = np.ones(scene.body.shape, np.uint8)
        for start, end in bones:
            cv2.line(line, *(tuple(np.rint(p).astype(int).tolist()) for p in (start, end)), 0)
        known = bool(bones) and not line.all()
        away.append(
            cv2.distanceTransform(line, cv2.DIST_L2, 3) if known else line * np.float32(1e9)
        )
    return np.argmin(away, 0)


def _arm_bones(scene: Scene) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """Start and end of both bones of the left and the right arm; a forearm that leaves the picture
    goes straight on.
    """
    found = []
    for joints in ARMS:
        bones = [
            (scene.points[a], scene.points[b])
            for a, b in pairwise(joints)
            if scene.known[a] and scene.known[b]
        ]
        if len(bones) == 1 and scene.known[joints[0]]:
            start, end = bones[0]
            bones.append((end, end + (end - start)))
        found.append(bones)
    return found


def hand_area(scene: Scene) -> np.ndarray:
    """(2, H, W) bool: left and right hand, from the wrist to the finger tips."""
    areas = np.zeros((2, *scene.body.shape), bool)
    y, x = np.mgrid[: scene.body.shape[0], : scene.body.shape[1]]
    places = np.stack([x, y], -1) + 0.5
    for area, hand, (_, elbow, wrist) in zip(areas, scene.hands, ARMS, strict=True):
        knuckles = hand[:2][hand[:2, 2] > 0, :2]
        if not scene.known[wrist] or not (len(knuckles) or scene.known[elbow]):
            continue
        start = scene.points[wrist]
        along = knuckles.mean(0) - start if len(knuckles) else np.zeros(2)
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


def leg_area(scene: Scene, width: float) -> np.ndarray:
    """(2, H, W) bool: bands along the left and the right leg, ``width`` trunks wide, and feet."""
    areas = np.zeros((2, *scene.body.shape), np.uint8)
    for area, (hip, knee, ankle) in zip(areas, LEGS, strict=True):
        for a, b in ((hip, knee), (knee, ankle)):
            if scene.known[a] and scene.known[b]:
                band(area, scene.points[a], scene.points[b], width * scene.unit)
                disc(area, scene.points[b], width * scene.unit / 2)
        if scene.known[ankle]:
            disc(area, scene.points[ankle], 0.6 * width * scene.unit, tall=1.3)
    return areas.astype(bool)


def trunk_core(scene: Scene) -> np.ndarray:
    """(H, W) bool: the middle of the trunk: surely garment, whoever wears it."""
    core = np.zeros(scene.body.shape, np.uint8)
    points, known = scene.points, scene.known
    if known[L_SHOULDER] and known[R_SHOULDER]:
        hip, down = trunk_axis(points, known, scene.unit)
        middle = (points[L_SHOULDER] + points[R_SHOULDER]) / 2
        half = (points[L_SHOULDER] - points[R_SHOULDER]) / 2
        top, low = middle + 0.35 * scene.unit * down, hip - 0.25 * scene.unit * down
        corners = [top - 0.55 * half, top + 0.55 * half, low + 0.5 * half, low - 0.5 * half]
        cv2.fillPoly(core, [np.rint(corners).astype(np.int32)], 1)
    return core.astype(bool) & scene.body
