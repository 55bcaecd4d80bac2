"""Articulated bodies on the 24-joint SMPL tree: kinematics, linear blend skinning and a perspective
camera (NumPy).

World: metres, x to the body's left hand, y up, z out of its chest. A camera looks along its own z
axis, with x to the picture's right and y down, so that a body that faces the camera shows its left
hand at the picture's right.
"""

import math
from dataclasses import dataclass

import numpy as np

JOINT_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar",
    "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist",
    "right_wrist", "left_hand", "right_hand",
)  # fmt: skip
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)


def axis_rotation(axis: str, degrees: float) -> np.ndarray:
    """(3, 3) rotation about a world axis, right-handed."""
    angle = np.deg2rad(degrees)
    c, s = np.cos(angle), np.sin(angle)
    i = "xyz".index(axis)
    j, k = (i + 1) % 3, (i + 2) % 3
    matrix = np.eye(3)
    matrix[j, j], matrix[j, k], matrix[k, j], matrix[k, k] = c, -s, s, c
    return matrix


def rotation_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Smallest rotation that turns direction ``start`` into ``end``; neither needs unit length."""
    ax, ay, az = (float(v) for v in start)
    bx, by, bz = (float(v) for v in end)
    scale = math.sqrt((ax * ax + ay * ay + az * az) * (bx * bx + by * by + bz * bz))
    cos = (ax * bx + ay * by + az * bz) / scale
    if cos < -1 + 1e-9:  # opposite: any axis across will do
        side = np.cross(start, np.eye(3)[np.abs(start).argmin()])
        side /= np.linalg.norm(side)
        return 2 * np.outer(side, side) - np.eye(3)
    x, y, z = (ay * bz - az * by) / scale, (az * bx - ax * bz) / scale, (ax * by - ay * bx) / scale
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + skew + skew @ skew / (1 + cos)


def rotation_vector(matrix: np.ndarray) -> np.ndarray:
    """Axis times angle (radians) of rotations (..., 3, 3); angles stay below pi."""
    cos = np.clip((np.trace(matrix, axis1=-2, axis2=-1) - 1) / 2, -1, 1)
    angle = np.arccos(cos)
    axis = np.stack(
        [
            matrix[..., 2, 1] - matrix[..., 1, 2],
            matrix[..., 0, 2] - matrix[..., 2, 0],
            matrix[..., 1, 0] - matrix[..., 0, 1],
        ],
        axis=-1,
    )
    return axis / 2 / np.maximum(np.sinc(angle / np.pi), 1e-6)[..., None]


def local_rotations(rotations: np.ndarray) -> np.ndarray:
    """Rotations relative to the parent joint (SMPL's pose) from rotations in the world, both (24,
    3, 3).
    """
    parents = np.array(PARENTS)
    out = rotations.copy()
    out[1:] = np.swapaxes(rotations[parents[1:]], 1, 2) @ rotations[1:]
    return out


def joint_transforms(joints: np.ndarray, rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each joint goes.

    Args:
        joints: (24, 3) in the rest pose.
        rotations: (24, 3, 3) of each bone in the world.

    Returns:
        transforms (24, 3, 4) of rest points, and posed joints (24, 3).
    """
    posed = np.array(joints, dtype=np.float64)
    for joint in range(1, len(PARENTS)):
        parent = PARENTS[joint]
        posed[joint] = posed[parent] + rotations[parent] @ (joints[joint] - joints[parent])
    shift = posed - np.einsum("jab,jb->ja", rotations, joints)
    return np.concatenate([rotations, shift[:, :, None]], axis=2), posed


def blend_transforms(weights: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    """(V, 3, 4) transform of each vertex from weights (V, 24), rows summing to 1."""
    flat = transforms.reshape(len(transforms), 12).astype(weights.dtype)
    return (weights @ flat).reshape(-1, 3, 4)


def skin(vertices: np.ndarray, blended: np.ndarray) -> np.ndarray:
    """Linear blend skinning of rest vertices (V, 3) with :func:`blend_transforms`' result."""
    return np.einsum("vab,vb->va", blended[:, :, :3], vertices) + blended[:, :, 3]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    rotation: (3, 3) world to camera
    position: (3,) centre in the world
    focal: in pixels
    centre: (x, y) principal point in pixels
    """

    rotation: np.ndarray
    position: np.ndarray
    focal: float
    centre: tuple[float, float]

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (V, 3) to (V, 3): x, y in pixels (pixel i is centred at i + 0.5) and depth
        in metres.
        """
        seen = (points - self.position) @ self.rotation.T
        depth = seen[:, 2:]
        return np.concatenate([self.focal * seen[:, :2] / depth + self.centre, depth], axis=1)

    def scaled(self, factor: float) -> "Camera":
        """The same view in a picture ``factor`` times as large."""
        x, y = self.centre
        return Camera(self.rotation, self.position, self.focal * factor, (x * factor, y * factor))


def orbit_camera(
    target: np.ndarray, distance: float, pitch: float, focal: float, centre: tuple[float, float]
) -> Camera:
    """Camera in front of ``target`` (on its +z side), ``pitch`` degrees above the horizon, looking
    at it.
    """
    # Camera axes in the world: x stays (the body's left is at the picture's right), y goes down, z
    # into the scene.
    facing = np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]])
    tilt = axis_rotation("x", pitch)
    rotation = facing @ tilt
    position = target + distance * (tilt.T @ np.array([0.0, 0, 1]))
    return Camera(rotation, position, focal, centre)
