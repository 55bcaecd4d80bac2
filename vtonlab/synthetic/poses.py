"""Poses by a dial: from standing at ease to crossed or raised arms, turned torsos and back
views.
"""

import numpy as np

from vtonlab.ops.body import PARENTS, axis_rotation, rotation_between

# Directions of the left upper arm and fore arm in the frame of the chest (x outwards, y up, z
# forward), the hardness from which a family may be drawn, and its weight.
ARMS = {
    "relaxed": ((0.36, -0.92, 0.00), (0.22, -0.93, 0.28), 0.0, 3.0),
    "open": ((0.62, -0.78, 0.05), (0.50, -0.82, 0.28), 0.0, 2.0),
    "hip": ((0.72, -0.66, -0.20), (-0.62, -0.72, 0.32), 0.2, 1.5),
    "bent": ((0.34, -0.92, 0.15), (0.30, 0.10, 0.95), 0.2, 1.0),
    "side": ((0.98, -0.10, 0.10), (0.85, 0.50, 0.15), 0.35, 1.0),
    "waist": ((0.38, -0.90, 0.12), (-0.78, -0.25, 0.58), 0.4, 1.5),
    "pocket": ((0.45, -0.85, -0.25), (-0.05, -0.95, 0.30), 0.1, 1.5),
    "crossed": ((0.34, -0.85, 0.40), (-0.92, 0.16, 0.36), 0.55, 2.0),
    "raised": ((0.62, 0.74, 0.10), (-0.10, 0.98, 0.10), 0.5, 1.5),
    "head": ((0.80, 0.52, 0.20), (-0.72, 0.66, 0.10), 0.6, 1.5),
    "behind": ((0.40, -0.82, -0.42), (-0.55, -0.60, -0.58), 0.6, 1.0),
}
MIRROR = np.array([-1.0, 1, 1])


def draw_pose(
    rng: np.random.Generator, hardness: float, joints: np.ndarray
) -> tuple[np.ndarray, float]:
    """One standing pose.

    Args:
        rng: source of randomness.
        hardness: 0 to 1; spreads every range and opens harder families.
        joints: (24, 3) rest joints, whose bones the poses turn.

    Returns:
        rotations (24, 3, 3) of every bone in the world, and the yaw in degrees that turns the body
        from the camera (part of the rotations already).
    """
    yaw = draw_yaw(rng, hardness)
    easy = 0.25 + 0.75 * hardness
    lean = axis_rotation("z", rng.normal(0, 3 * easy)) @ axis_rotation("x", rng.normal(1, 3 * easy))
    twist = float(np.clip(rng.normal(0, 14 * hardness), -35, 35))
    side = float(np.clip(rng.normal(0, 6 * hardness), -14, 14))
    pelvis = axis_rotation("y", yaw) @ lean
    rotations = np.repeat(np.eye(3)[None], 24, axis=0)
    rotations[0] = pelvis
    # The spine shares a twist and a bend; the head mostly looks back to the camera.
    bend = axis_rotation("y", twist / 3) @ axis_rotation("z", side / 3)
    for joint in (3, 6, 9):
        rotations[joint] = rotations[PARENTS[joint]] @ bend
    chest = rotations[9]
    look = axis_rotation("y", float(np.clip(-0.35 * twist + rng.normal(0, 10 * easy), -40, 40)))
    nod = axis_rotation("x", rng.normal(2, 5 * easy)) @ axis_rotation("z", rng.normal(0, 4 * easy))
    rotations[12] = chest @ _part(look, 0.4)
    rotations[15] = chest @ look @ nod
    _draw_legs(rng, easy, joints, rotations)
    _draw_arms(rng, hardness, joints, rotations, chest)
    return rotations, yaw


def draw_yaw(rng: np.random.Generator, hardness: float) -> float:
    """Turn from the camera in degrees: small at first, then to 60, at last a few backs."""
    yaw = float(np.clip(rng.normal(0, 3 + 27 * hardness**1.3), -70, 70))
    back = rng.random() < 0.5 * max(0.0, hardness - 0.75)
    return yaw + 180 if back else yaw


def _part(rotation: np.ndarray, share: float) -> np.ndarray:
    """Roughly a share of a small rotation."""
    blended = (1 - share) * np.eye(3) + share * rotation
    u, _, vt = np.linalg.svd(blended)
    return u @ vt


def _turn_bone(rotations, joint, child, joints, parent, direction) -> None:
    """Turn the bone joint -> child to a world direction, with no more twist than its parent has."""
    rest = rotations[parent] @ (joints[child] - joints[joint])
    rotations[joint] = rotation_between(rest, direction) @ rotations[parent]


def _draw_legs(rng, easy, joints, rotations) -> None:
    pelvis = rotations[0]
    stance = rng.uniform(0.02, 0.10 + 0.08 * easy)
    for left, (hip, knee, ankle, foot) in ((True, (1, 4, 7, 10)), (False, (2, 5, 8, 11))):
        mirror = np.ones(3) if left else MIRROR
        step = rng.normal(0, 0.08 * easy)
        bent = abs(rng.normal(0, 0.10 * easy))
        thigh = np.array([stance, -1, step + bent]) * mirror
        shin = np.array([stance * 0.6, -1, step - 0.4 * bent - 0.03]) * mirror
        _turn_bone(rotations, hip, knee, joints, 0, pelvis @ thigh)
        _turn_bone(rotations, knee, ankle, joints, hip, pelvis @ shin)
        out = axis_rotation("y", (1 if left else -1) * rng.uniform(0, 14))
        rotations[ankle] = axis_rotation("y", 0) @ pelvis @ out
        rotations[foot] = rotations[ankle]


def _draw_arms(rng, hardness, joints, rotations, chest) -> None:
    both = rng.random() < 0.5 + 0.2 * hardness
    families = [_draw_family(rng, hardness) for _ in range(2)]
    if both or "crossed" in families:
        families = ["crossed" if "crossed" in families else families[0]] * 2
    spread = 0.05 + 0.10 * hardness
    for i, (collar, shoulder, elbow, wrist, hand) in enumerate(
        ((13, 16, 18, 20, 22), (14, 17, 19, 21, 23))
    ):
        mirror = np.ones(3) if i == 0 else MIRROR
        upper, fore = (np.array(v) for v in ARMS[families[i]][:2])
        upper, fore = upper + rng.normal(0, spread, 3), fore + rng.normal(0, spread, 3)
        if families[i] == "crossed":  # one arm over the other
            upper, fore = (
                upper + np.array([0, 0, 0.10 * i]),
                fore + np.array([0, 0.10 - 0.2 * i, 0.08 * i]),
            )
        upper, fore = chest @ (upper * mirror), chest @ (fore * mirror)
        rest = chest @ (joints[elbow] - joints[shoulder])
        lift = rotation_between(rest, upper)
        rotations[collar] = _part(lift, 0.25) @ chest
        _turn_bone(rotations, shoulder, elbow, joints, collar, upper)
        _turn_bone(rotations, elbow, wrist, joints, shoulder, fore)
        rotations[wrist] = rotations[elbow]
        rotations[hand] = rotations[elbow]


def _draw_family(rng: np.random.Generator, hardness: float) -> str:
    names = [n for n, (_, _, least, _) in ARMS.items() if hardness >= least]
    # Harder families gain weight as the dial rises.
    weights = np.array([ARMS[n][3] * (0.3 + 2.5 * ARMS[n][2] * hardness) for n in names])
    if hardness < 0.1:
        weights = np.array([1.0] * len(names))
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]
