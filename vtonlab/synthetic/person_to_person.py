"""Two photographs of one person in the same clothes: the second one plays the garment picture."""

from collections.abc import Callable

import numpy as np

from vtonlab.ops.rasterize import Fragments
from vtonlab.synthetic.garments import GarmentMesh
from vtonlab.synthetic.render import FIRST_GARMENT, Person, Picture, Worn, render
from vtonlab.synthetic.scene import draw_backdrop, draw_person


def second_view(
    stream: Callable[[str], np.random.Generator],
    size: tuple[int, int],
    framing: float,
    hardness: float,
    outfit: list[Worn],
    picture: Picture,
) -> tuple[dict[str, np.ndarray], Person]:
    """The garment picture, its mask, and the flow from ``picture`` into it.

    Args:
        stream: named random streams of this sample.
        size: (height, width) of the pictures.
        framing: how far people are placed from the middle, as `SyntheticTryOn` takes it.
        hardness: of the second pose, in [0, 1].
        outfit: what the person wears in both pictures, the garment first.
        picture: the first picture.

    Returns:
        arrays for the sample, and the person in the second pose.
    """
    category = outfit[0].mesh.garment.category
    person = draw_person(
        stream("identity"), stream("second view"), hardness, category, size, framing
    )
    backdrop = draw_backdrop(stream("second backdrop"), size, picture.factor)
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
