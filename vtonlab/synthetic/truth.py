"""Maps that real data sets buy from detectors and a renderer simply knows: IUV, pose picture,
keypoints.
"""

from functools import cache

import numpy as np

from vtonlab.ops.labels import densepose_picture
from vtonlab.ops.rasterize import Fragments, rasterize
from vtonlab.synthetic.body import load_body
from vtonlab.synthetic.render import BODY, Person, Picture

# BODY_25 index -> SMPL joint
JOINTS = {
    1: 12, 2: 17, 3: 19, 4: 21, 5: 16, 6: 18, 7: 20, 8: 0, 9: 2, 10: 5, 11: 8, 12: 1, 13: 4, 14: 7,
}  # fmt: skip


@cache
def landmark_rows() -> dict[int, int]:
    """BODY_25 index -> vertex of the body mesh: nose, eyes, ears, toes and heels."""
    v = load_body().data["body_vertices"]
    joints = load_body().data["body_joints"][:, 0]
    head = np.flatnonzero(joints == 15)
    eyes = load_body().data["eyes_vertices"]
    left_eye = eyes[eyes[:, 0] > 0].mean(0) + np.array([0, 0, 0.015])
    rows = {0: head[v[head, 2].argmax()]}
    ear = head[v[head, 0].argmax()]
    for side, eye, ear_index, toes in ((1, 16, 18, (19, 20, 21)), (-1, 15, 17, (22, 23, 24))):
        mirror = np.array([side, 1, 1])
        rows[eye] = ((v - left_eye * mirror) ** 2).sum(1).argmin()
        rows[ear_index] = ((v - v[ear] * mirror) ** 2).sum(1).argmin()
        foot = np.flatnonzero((v[:, 0] * side > 0) & (v[:, 1] < v[:, 1].min() + 0.06))
        big = foot[(v[foot, 2] - 0.5 * v[foot, 0] * side).argmax()]
        small = foot[(v[foot, 2] + 1.2 * v[foot, 0] * side).argmax()]
        rows |= dict(zip(toes, (big, small, foot[v[foot, 2].argmin()]), strict=True))
    return {k: int(r) for k, r in rows.items()}


def keypoints(person: Person, picture: Picture, size: tuple[int, int]) -> np.ndarray:
    """(25, 3) float32 BODY_25: x, y in [0, 1] and confidence.

    0 outside the picture and for hidden parts of the face, 0.6 for other joints behind something, 1
    in sight.
    """
    h, w = size
    model = load_body()
    order = sorted(landmark_rows().items())
    vertices = person.vertices[: model.meshes["body"].rows.stop]
    rows = np.array([r for _, r in order])
    blended = person.posed.blended[rows]
    marks = np.einsum("vab,vb->va", blended[:, :, :3], vertices[rows]) + blended[:, :, 3]
    world = np.zeros((25, 3))
    world[[k for k, _ in order]] = marks
    world[list(JOINTS)] = person.posed.joints[list(JOINTS.values())]
    world[1] = person.posed.joints[[16, 17]].mean(0)  # OpenPose's neck lies between the shoulders
    seen = person.camera.project(world)
    x, y = seen[:, 0] / w, seen[:, 1] / h
    inside = (x >= 0) & (x < 1) & (y >= 0) & (y < 1)
    columns = np.clip((x * w).astype(int), 0, w - 1)
    rows = np.clip((y * h).astype(int), 0, h - 1)
    slack = np.where(np.isin(np.arange(25), list(JOINTS)), 0.16, 0.035)
    hidden = seen[:, 2] > picture.fragments.depth[rows, columns] + slack
    face = np.isin(np.arange(25), (0, 15, 16, 17, 18))
    confidence = np.where(hidden, np.where(face, 0.0, 0.6), 1.0) * inside
    out = np.stack([x, y, confidence], axis=1).astype(np.float32)
    out[confidence == 0] = 0
    return out


def body_fragments(person: Person, size: tuple[int, int]) -> tuple[Fragments, np.ndarray]:
    """The naked body alone: fragments and its projected vertices (V, 3) in pixels and metres."""
    model = load_body()
    mesh = model.meshes["body"]
    points = person.posed.points(model.part("body", person.vertices), mesh.rows)
    points = person.camera.project(points)
    return rasterize(points, mesh.faces, size), points.astype(np.float32)


def iuv_map(fragments: Fragments) -> np.ndarray:
    """(h, w, 3) uint8: DensePose part 1..24, U and V in 0..255; 0 off the body."""
    model = load_body()
    out = np.zeros((*fragments.face.shape, 3), np.uint8)
    covered = fragments.covered
    face = fragments.face[covered]
    uv = model.data["body_uv"][face].astype(np.float32)  # (P, 3 corners, 2)
    weights = fragments.barycentric[covered].astype(np.float32)
    uv = (uv * weights[:, :, None]).sum(1)
    out[covered, 0] = model.data["body_parts"][face]
    out[covered, 1:] = np.clip(np.rint(uv), 0, 255)
    return out


def pose_picture(iuv: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 RGB rendering of the parts on black."""
    return densepose_picture(iuv[..., 0])


def worn_region(picture: Picture, part: int) -> np.ndarray:
    """(h, w) uint8 mask of one garment."""
    return (picture.part == part).astype(np.uint8)


__all__ = [
    "BODY", "body_fragments", "iuv_map", "keypoints", "landmark_rows",
    "pose_picture", "worn_region",
]  # fmt: skip
