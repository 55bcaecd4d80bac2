"""Triangle meshes to pixels: face index, barycentric coordinates and depth, on the CPU.

OpenCV 5's ``triangleRasterize`` interpolates three numbers per corner with perspective correction.
Giving every face its own three corners lets one pass carry two barycentrics and the face index, and
any other attribute follows from those.
"""

from typing import NamedTuple

import numpy as np


class Fragments(NamedTuple):
    """What each pixel centre sees first.

    face: (h, w) int32, index of the face, -1 where there is none
    barycentric: (h, w, 3) float32, perspective correct, 0 where there is no face
    depth: (h, w) float32, inf where there is no face
    """

    face: np.ndarray
    barycentric: np.ndarray
    depth: np.ndarray

    @property
    def covered(self) -> np.ndarray:
        """(h, w) bool: pixels that see the mesh."""
        return self.face >= 0


def rasterize(points: np.ndarray, faces: np.ndarray, size: tuple[int, int]) -> Fragments:
    """Nearest face at every pixel centre.

    Args:
        points: (V, 3) projected vertices: x, y in pixels (pixel i has its centre at i + 0.5), depth
            > 0 along the view.
        faces: (F, 3) vertex indices, F < 2 ** 20.
        size: (h, w) of the picture.

    Raises:
        ValueError: a depth is not positive, or an index is out of range.
    """
    h, w = size
    faces = np.asarray(faces)
    if len(faces) == 0:
        return _empty(h, w)
    points = np.asarray(points, dtype=np.float64)
    if faces.min() < 0 or faces.max() >= len(points):
        raise ValueError(
            f"faces must index {len(points)} points, found {faces.min()}..{faces.max()}"
        )
    corners = points[faces.reshape(-1)]  # (3F, 3): corners are not shared
    z = corners[:, 2]
    if not z.min() > 0:
        raise ValueError(f"depth must be positive, found {z.min():.4g}; move the camera back")
    colors, depth = _draw(corners, len(faces), h, w)
    covered = colors[..., 2] > 0
    face = np.where(covered, np.rint(colors[..., 2] * (len(faces) + 1)).astype(np.int32) - 1, -1)
    first, second = colors[..., 0], colors[..., 1]
    barycentric = np.stack([first, second, np.where(covered, 1 - first - second, 0)], axis=-1)
    return Fragments(face.astype(np.int32), barycentric, np.where(covered, depth, np.inf))


def _draw(corners: np.ndarray, count: int, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    import cv2

    z = corners[:, 2]
    focal = float(
        max(h, w)
    )  # any focal length gives the same picture: points are projected already
    camera = np.empty_like(corners, dtype=np.float32)
    camera[:, 0] = (corners[:, 0] - w / 2) * z / focal
    camera[:, 1] = -(corners[:, 1] - h / 2) * z / focal
    camera[:, 2] = -z
    attributes = np.zeros((count, 3, 3), np.float32)
    attributes[:, 0, 0] = 1
    attributes[:, 1, 1] = 1
    attributes[:, :, 2] = (np.arange(1, count + 1, dtype=np.float32) / (count + 1))[:, None]
    near, far = float(z.min()) * 0.5, float(z.max()) * 2.0
    settings = cv2.TriangleRasterizeSettings()
    settings.setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    settings.setCullingMode(cv2.RASTERIZE_CULLING_NONE)
    colors = np.zeros((h, w, 3), np.float32)
    depth = np.full((h, w), far, np.float32)
    triangles = np.arange(3 * count, dtype=np.int32).reshape(-1, 3)
    fov = 2 * np.arctan(h / 2 / focal)
    cv2.triangleRasterize(
        camera, triangles, attributes.reshape(-1, 3), colors, depth,
        np.eye(4, dtype=np.float32), fov, near, far, settings,
    )  # fmt: skip
    return colors, depth


def _empty(h: int, w: int) -> Fragments:
    return Fragments(
        np.full((h, w), -1, np.int32),
        np.zeros((h, w, 3), np.float32),
        np.full((h, w), np.inf, np.float32),
    )


def interpolate(
    fragments: Fragments, faces: np.ndarray, values: np.ndarray, where: np.ndarray | None = None
) -> np.ndarray:
    """Vertex attributes at the covered pixels (or at those of ``where``, which must be covered).

    Args:
        fragments: result of :func:`rasterize`.
        faces: (F, 3) of the same mesh.
        values: (V, C) attribute per vertex.
        where: (h, w) bool.

    Returns:
        (P, C), in row order of the chosen pixels.
    """
    where = fragments.covered if where is None else where
    corners = faces[fragments.face[where]]  # (P, 3)
    weights = fragments.barycentric[where].astype(values.dtype)  # (P, 3)
    return (
        values[corners[:, 0]] * weights[:, 0:1]
        + values[corners[:, 1]] * weights[:, 1:2]
        + values[corners[:, 2]] * weights[:, 2:3]
    )


def visible_faces(fragments: Fragments, count: int) -> np.ndarray:
    """(count,) bool: faces that at least one pixel sees."""
    seen = np.zeros(count, bool)
    seen[fragments.face[fragments.covered]] = True
    return seen
