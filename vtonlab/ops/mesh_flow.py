"""Dense flow between two pictures of one body mesh (METHODS.md 5.4), in NumPy.

Vertices are projected ones: ``x, y`` in pixels (pixel ``i`` has its centre at ``i + 0.5``) and,
where known, depth. Visibility is a map of face indices, -1 where there is no body.
"""

from __future__ import annotations

import numpy as np

FOUND, HIDDEN, BACKGROUND = 0, 1, 2


def screen_barycentric(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentric coordinates ``(P, 3)`` of 2-D ``points (P, 2)`` in triangles ``(P, 3, 2)``.

    A triangle without area gives its first corner.
    """
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    ab, ac, ap = b - a, c - a, points - a
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    flat = np.abs(area) < 1e-12
    area = np.where(flat, 1.0, area)
    v = np.where(flat, 0.0, (ap[:, 0] * ac[:, 1] - ap[:, 1] * ac[:, 0]) / area)
    w = np.where(flat, 0.0, (ab[:, 0] * ap[:, 1] - ab[:, 1] * ap[:, 0]) / area)
    return np.stack([1 - v - w, v, w], 1)


def mesh_flow(
    person_vertices: np.ndarray,
    garment_vertices: np.ndarray,
    faces: np.ndarray,
    person_faces: np.ndarray,
    garment_faces: np.ndarray,
    mirror: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Where each person pixel's place on the body lies in the garment picture.

    With depths on both sides the place on the surface is exact; without, barycentric coordinates of
    the projected triangle stand for it, as published.

    Args:
        person_vertices, garment_vertices: ``(V, 2)`` or ``(V, 3)``, projected.
        faces: ``(F, 3)`` vertex indices.
        person_faces: ``(h, w)`` index of the face each person pixel sees; -1, or any number that is
            no face's, off the body.
        garment_faces: ``(hg, wg)`` the same for the garment picture: a face is visible there if any
            pixel sees it.
        mirror: ``(V,)`` left-right partner of each vertex. A face hidden in the garment picture
            whose three partners are corners of visible faces takes their place instead; None: no.

    Returns:
        flow ``(h, w, 2)`` float32, ``x, y`` in pixels of the garment picture, 0 where unknown;
        status ``(h, w)`` uint8: 0 found, 1 body that the garment picture does not show, 2 no body.
    """
    h, w = person_faces.shape
    flow = np.zeros((h, w, 2), np.float32)
    status = np.full((h, w), BACKGROUND, np.uint8)
    body = (person_faces >= 0) & (person_faces < len(faces))
    face = person_faces[body]
    status[body] = HIDDEN
    seen = np.zeros(len(faces), bool)
    seen[garment_faces[(garment_faces >= 0) & (garment_faces < len(faces))]] = True
    corners, found = faces[face], seen[face]
    if mirror is not None:
        shown = np.zeros(len(person_vertices), bool)
        shown[faces[seen]] = True
        swapped = mirror[corners]
        instead = ~found & shown[swapped].all(1)
    else:
        swapped, instead = corners, np.zeros(len(corners), bool)
    y, x = np.nonzero(body)
    points = np.stack([x + 0.5, y + 0.5], 1)
    source = person_vertices[corners].astype(np.float64)  # (P, 3, 2 or 3)
    weights = screen_barycentric(points, source[..., :2])
    target = garment_vertices[np.where(instead[:, None], swapped, corners)].astype(np.float64)
    if source.shape[-1] == 3 and target.shape[-1] == 3:
        weights = weights / source[..., 2]  # on the surface, up to scale
        weights = weights * target[..., 2]  # seen by the other camera
    place = (weights[..., None] * target[..., :2]).sum(1) / weights.sum(1, keepdims=True)
    known = found | instead
    status[y[known], x[known]] = FOUND
    flow[y[known], x[known]] = place[known]
    return flow, status
