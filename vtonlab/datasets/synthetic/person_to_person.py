"""Two photographs of one person in the same clothes: the second one plays the garment picture."""

from typing import TYPE_CHECKING

import numpy as np

from vtonlab.datasets.synthetic.garments import GarmentMesh
from vtonlab.datasets.synthetic.render import FIRST_GARMENT, Person, Picture, Worn, render
from vtonlab.datasets.synthetic.scene import draw_backdrop, draw_person
from vtonlab.ops.rasterize import Fragments

if TYPE_CHECKING:
    from vtonlab.datasets.synthetic.dataset import SyntheticTryOn


def second_view(
    dataset: "SyntheticTryOn", index: int, hardness: float, outfit: list[Worn], picture: Picture
) -> tuple[dict[str, np.ndarray], Person]:
    """The garment picture, its mask, and the flow from ``picture`` into it.

    Returns:
        arrays for the sample, and the person in the second pose.
    """
    size, category = dataset.size, outfit[0].mesh.garment.category
    person = draw_person(
        dataset.rng(index, "identity"),
        dataset.rng(index, "second view"),
        hardness,
        category,
        size,
        dataset.framing,
    )
    backdrop = draw_backdrop(dataset.rng(index, "second backdrop"), size, picture.factor)
    other = render(person, outfit, backdrop, size, picture.factor)
    flow, visible = flow_between(picture, other, outfit[0].mesh)
    mask = (other.part == FIRST_GARMENT).astype(np.uint8)
    return {"garment": other.rgb, "garment_mask": mask, "flow": flow, "visible": visible}, person


def flow_between(
    picture: Picture, other: Picture, mesh: GarmentMesh, slack: float = 0.012
) -> tuple[np.ndarray, np.ndarray]:
    """Flow (h, w, 2) in [0, 1] from one picture of a garment to another, and where it is visible
    (h, w).

    A pixel's place on the mesh is projected into the other picture and counts as visible where
    nothing there lies more than ``slack`` metres before it.
    """
    h, w = picture.part.shape
    seen = picture.part == FIRST_GARMENT
    offset = np.flatnonzero(picture.surface.parts == FIRST_GARMENT)[0]
    faces = mesh.faces[picture.fragments.face[seen] - offset]  # (P, 3)
    first = np.flatnonzero(other.surface.parts == FIRST_GARMENT)[0]
    start = other.surface.faces[first].min() - mesh.faces[0].min()
    corners = other.surface.points[start + faces]  # (P, 3, 3): x, y in pixels, depth
    weights = picture.fragments.barycentric[seen].astype(np.float64)
    # Barycentrics are those of the surface: perspective needs 1 / depth.
    weights = weights / corners[:, :, 2]
    depth = 1 / weights.sum(1)
    place = (corners[:, :, :2] * weights[:, :, None]).sum(1) * depth[:, None]
    flow = np.zeros((h, w, 2), np.float32)
    flow[seen] = place / np.array([w, h])
    visible = np.zeros((h, w), bool)
    visible[seen] = _in_sight(other.fragments, other.part, place, depth, slack)
    flow[~visible] = 0
    return flow, visible


def _in_sight(
    fragments: Fragments, part: np.ndarray, place: np.ndarray, depth: np.ndarray, slack: float
) -> np.ndarray:
    h, w = part.shape
    inside = (place > 0).all(1) & (place[:, 0] < w) & (place[:, 1] < h)
    x = np.clip(place[:, 0].astype(int), 0, w - 1)
    y = np.clip(place[:, 1].astype(int), 0, h - 1)
    return inside & (part[y, x] == FIRST_GARMENT) & (depth < fragments.depth[y, x] + slack)
