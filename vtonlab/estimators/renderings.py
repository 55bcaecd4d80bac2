"""A rendering like DensePose's, drawn from joints: which part of the body lies where."""

import cv2
import numpy as np

from vtonlab.estimators.base import DensePoseEstimator, Person
from vtonlab.estimators.scene import find_face, hand_area, place_scene
from vtonlab.ops.agnostic_shapes import (
    ARMS,
    L_HIP,
    L_SHOULDER,
    LEGS,
    NECK,
    R_HIP,
    R_SHOULDER,
    disc,
)
from vtonlab.registry import ESTIMATORS

TORSO = (2, 1)  # seen from the front, from behind
HANDS, FEET, HEADS = (4, 3), (5, 6), (24, 23)  # left, right
# (inner, outer) of the upper and the lower arm, left and right
ARM_PARTS = (((15, 17), (19, 21)), ((16, 18), (20, 22)))
# upper and lower leg, left and right, from the front and from behind
LEG_PARTS = (((10, 14), (9, 13)), ((8, 12), (7, 11)))
# half widths in trunk lengths: shoulder, elbow, wrist; hip, knee, ankle
_ARM_WIDTHS, _LEG_WIDTHS = (0.13, 0.095, 0.07), (0.21, 0.135, 0.09)


@ESTIMATORS.register_module()
class LandmarkDensePose(DensePoseEstimator):
    """Limbs as tapering bands along the joints, trunk and head as hulls, cut to the person's matte.

    It tells a network where limbs are; it holds no U and V and doesn't know the body under clothes.
    """

    def __call__(self, picture: np.ndarray, person: Person) -> np.ndarray:
        matte = np.ones(picture.shape[:2], np.float32) if person.matte is None else person.matte
        scene = place_scene(picture, person, matte)
        behind = seen_from_behind(person)
        parts = np.zeros(scene.body.shape, np.uint8)
        for bones, numbers in zip(LEGS[::-1], LEG_PARTS[behind], strict=True):
            if scene.known[bones[0]] and not scene.known[bones[1]]:  # cut off: straight down
                scene = _with_knee(scene, bones)
            for (start, end), widths, number in zip(
                (bones[:2], bones[1:]), ((0, 1), (1, 2)), numbers, strict=True
            ):
                reach = [_LEG_WIDTHS[k] * scene.unit for k in widths]
                parts[_bone(scene, start, end, *reach)[0]] = number
        _feet(parts, scene)
        parts[_torso(scene)] = TORSO[behind]
        self._head(parts, scene, behind)
        for bones, numbers in zip(ARMS[::-1], ARM_PARTS, strict=True):
            _arm(parts, scene, bones, numbers)
        for number, area in zip(HANDS, hand_area(scene), strict=True):
            parts[area] = number
        parts[~scene.body] = 0
        return cv2.resize(parts, picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)

    def _head(self, parts: np.ndarray, scene, behind: bool) -> None:
        face, known = find_face(scene), scene.known
        y, x = np.mgrid[: parts.shape[0], : parts.shape[1]]
        left, right = HEADS[::-1] if behind else HEADS
        if face is not None:
            dx, dy = x + 0.5 - face.middle[0], y + 0.5 - face.middle[1]
            above = (dx * face.up[0] + dy * face.up[1]) / (1.1 * face.tall)
            across = (-dx * face.up[1] + dy * face.up[0]) / (1.05 * face.wide)
            inside, side = across**2 + above**2 < 1, across
        elif known[NECK]:
            dx = (x + 0.5 - scene.points[NECK, 0]) / (0.17 * scene.unit)
            dy = (y + 0.5 - scene.points[NECK, 1] + 0.5 * scene.unit) / (0.3 * scene.unit)
            inside, side = dx**2 + dy**2 < 1, dx
        else:
            return
        parts[inside] = np.where(side > 0, left, right)[inside]


def seen_from_behind(person: Person) -> bool:
    """Whether the left shoulder is at the picture's left and no eye is seen."""
    points = person.keypoints
    turned = points[L_SHOULDER, 0] < points[R_SHOULDER, 0]
    shoulders = (points[[L_SHOULDER, R_SHOULDER], 2] > 0).all()
    return bool(shoulders and turned and (points[[0, 15, 16], 2] < 0.5).all())


def _with_knee(scene, bones):
    """The scene with a knee below the picture's lower edge."""
    points, known = scene.points.copy(), scene.known.copy()
    hip, knee = bones[:2]
    points[knee] = points[hip] + np.array([0, 0.95 * scene.unit])
    known[knee] = points[knee, 1] > 0.9 * scene.body.shape[0]
    return scene._replace(points=points, known=known)


def _bone(scene, start: int, end: int, wide: float, narrow: float):
    """(H, W) bool of a tapering band, and each pixel's signed distance from its axis."""
    y, x = np.mgrid[: scene.body.shape[0], : scene.body.shape[1]]
    if not (scene.known[start] and scene.known[end]):
        return np.zeros(scene.body.shape, bool), np.zeros(scene.body.shape)
    a, b = scene.points[start], scene.points[end]
    along = (b - a) / max(float(np.linalg.norm(b - a)), 1e-6)
    dx, dy = x + 0.5 - a[0], y + 0.5 - a[1]
    share = (dx * along[0] + dy * along[1]) / max(float(np.linalg.norm(b - a)), 1e-6)
    aside = -dx * along[1] + dy * along[0]
    width = wide + (narrow - wide) * np.clip(share, 0, 1)
    return (share > -0.05) & (share < 1.05) & (np.abs(aside) < width), aside


def _arm(parts: np.ndarray, scene, bones, numbers) -> None:
    shoulder, elbow, wrist = bones
    outer_side = 1 if shoulder == L_SHOULDER else -1
    for (start, end), widths, (inner, outer) in zip(
        ((shoulder, elbow), (elbow, wrist)), ((0, 1), (1, 2)), numbers, strict=True
    ):
        reach = [_ARM_WIDTHS[k] * scene.unit for k in widths]
        inside, aside = _bone(scene, start, end, *reach)
        # walking down the left arm of somebody who faces us, the outer side is at the right hand
        outside = -aside * outer_side > 0.35 * reach[0] * (1 if start == shoulder else -1)
        parts[inside] = np.where(outside, outer, inner)[inside]


def _torso(scene) -> np.ndarray:
    area = np.zeros(scene.body.shape, np.uint8)
    points, known = scene.points, scene.known
    if known[L_SHOULDER] and known[R_SHOULDER]:
        hull = [points[L_SHOULDER], points[R_SHOULDER]]
        middle = (hull[0] + hull[1]) / 2
        if known[NECK]:
            hull.append(middle - [0, 0.16 * scene.unit])
        if known[L_HIP] and known[R_HIP]:
            hips = points[[L_HIP, R_HIP]]
            spread = 1.55 * (hips - hips.mean(0)) + hips.mean(0)
            hull += [*spread, *(spread + np.array([0, 0.1 * scene.unit]))]
        else:
            hull += [p + np.array([0, scene.unit]) for p in hull[:2]]
        corners = cv2.convexHull(np.array(hull, np.float32))
        cv2.fillConvexPoly(area, np.rint(corners).astype(np.int32), 1)
    return area.astype(bool)


def _feet(parts: np.ndarray, scene) -> None:
    for number, (ankle, toe) in zip(FEET, ((14, 19), (11, 22)), strict=True):
        if scene.known[ankle]:
            foot = np.zeros(parts.shape, np.uint8)
            end = scene.points[toe] if scene.known[toe] else scene.points[ankle]
            disc(foot, (scene.points[ankle] + end) / 2, 0.11 * scene.unit, tall=1.4)
            parts[foot > 0] = number
