"""What is uncertain about a prepared photograph, in sentences."""

import numpy as np

from vtonlab.estimators.base import Person, PreparationError
from vtonlab.ops.agnostic import DRESS, GARMENT_LABELS, PANTS, SKIRT
from vtonlab.ops.agnostic_shapes import (
    L_HIP,
    L_SHOULDER,
    L_WRIST,
    MID_HIP,
    NECK,
    R_HIP,
    R_SHOULDER,
    R_WRIST,
)

_BESIDE = 0.25  # of the person, how much else may be seen; people alone have at most 0.05
_ANKLES, _KNEES = (11, 14), (10, 13)


def about_people(people: list[Person], size: tuple[int, int]) -> list[str]:
    """Of the main person's joints, and of others in the picture of ``size`` (height, width)."""
    points = people[0].keypoints * (size[1], size[0], 1)
    known = points[:, 2] > 0
    said = []
    if len(people) > 1:
        said.append(f"{len(people)} people are seen: the largest, most central one is dressed")
    elif people[0].beside > _BESIDE:
        said.append("others are seen beside the person: crop to the one who is to be dressed")
    if not _upright(points, known):
        said.append("the person is not upright: turn the picture")
    elif not known[[L_SHOULDER, R_SHOULDER]].all():
        said.append("a shoulder is outside the picture or hidden: the mask may miss a sleeve")
    elif points[L_SHOULDER, 0] < points[R_SHOULDER, 0]:
        said.append("the person is seen from behind: garments are drawn from their front")
    else:
        _about_posture(points, known, said)
    if not known[[L_HIP, R_HIP]].any():
        said.append("the hips are outside the picture: the garment is drawn down to its edge")
    hidden = [name for name, k in (("left", L_WRIST), ("right", R_WRIST)) if not known[k]]
    if hidden:
        said.append(f"the {' and '.join(hidden)} hand is not seen: its sleeve is guessed")
    return said


def _upright(points: np.ndarray, known: np.ndarray) -> bool:
    """Whether the trunk, as far as it is known, points down rather than aside or up."""
    if not known[[NECK, MID_HIP]].all():
        return True
    across, down = points[MID_HIP, :2] - points[NECK, :2]
    return bool(down >= abs(across))


def _about_posture(points: np.ndarray, known: np.ndarray, said: list[str]) -> None:
    shoulders = points[L_SHOULDER, 0] - points[R_SHOULDER, 0]
    if known[[L_WRIST, R_WRIST]].all() and points[L_WRIST, 0] < points[R_WRIST, 0]:
        said.append("the arms are crossed: what they hide of the garment is guessed")
    if known[[L_HIP, R_HIP]].all():
        trunk = abs(points[[L_HIP, R_HIP], 1].mean() - points[[L_SHOULDER, R_SHOULDER], 1].mean())
        if shoulders < 0.25 * trunk:
            said.append("the person is seen from the side: one arm is guessed")
        knees = [k for k in _KNEES if known[k]]
        if knees and points[knees, 1].mean() - points[[L_HIP, R_HIP], 1].mean() < 0.35 * trunk:
            said.append("the person sits or kneels: the lap may be drawn as garment")


def about_mask(
    mask: np.ndarray, parse: np.ndarray, keypoints: np.ndarray, category: str
) -> list[str]:
    """Of the area to generate.

    Raises:
        PreparationError: it is empty.
    """
    share = float(mask.mean())
    if share == 0:
        raise PreparationError(
            f"the mask for {category} is empty: the part of the body where the garment goes is not "
            "in the picture"
        )
    said = []
    if share < 0.02:
        said.append(f"the mask covers {share:.1%} of the picture: the person is small; crop to it")
    if share > 0.8:
        said.append(f"the mask covers {share:.0%} of the picture: little of the person is left")
    if not np.isin(parse, GARMENT_LABELS[category]).any():
        said.append(f"no worn garment of {category} was found: the mask is drawn from joints alone")
    if category == "upper_body" and _no_hem(parse, keypoints):
        said.append(
            "no hem is seen (a dress, or one colour above and below): all of it is drawn as garment"
        )
    if category != "upper_body" and not (keypoints[list(_ANKLES), 2] > 0).any():
        said.append("the ankles are outside the picture: the garment is drawn down to its edge")
    return said


def _no_hem(parse: np.ndarray, keypoints: np.ndarray) -> bool:
    """Whether upper clothes (LIP) reach far below the hips, and nothing is worn below them."""
    joints = keypoints[[L_SHOULDER, R_SHOULDER, L_HIP, R_HIP]]
    if not (joints[:, 2] > 0).all() or np.isin(parse, (DRESS, PANTS, SKIRT)).any():
        return False
    shoulders, hips = joints[:2, 1].mean(), joints[2:, 1].mean()
    level = round(float(hips + 0.3 * (hips - shoulders)) * parse.shape[0])
    return bool(np.isin(parse[level:], GARMENT_LABELS["upper_body"]).any())
