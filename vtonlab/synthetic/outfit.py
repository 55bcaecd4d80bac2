"""Cloth on a pattern: the flat shop picture, and the same garment ready to be worn."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from vtonlab.ops import agnostic as lip
from vtonlab.ops.geometry import downsample
from vtonlab.ops.rasterize import Fragments, interpolate, rasterize
from vtonlab.synthetic.bold_prints import BOLD_KINDS
from vtonlab.synthetic.garments import (
    FlatFrame,
    Garment,
    GarmentMesh,
    build_mesh,
    collar_vertices,
    draw_garment,
    fit_under,
    flat_frame,
)
from vtonlab.synthetic.render import Cloth, Worn, dye
from vtonlab.synthetic.textures import draw_cloth

# Cloths whose pattern goes on over the back; of the others the back shows the ground colour alone.
ALL_OVER = ("plain", "stripes", "checks", "dots", "gradient", "knit", "denim", "floral", "abstract")
TEXTURES = {
    "plain": 6, "stripes": 8, "checks": 7, "dots": 6, "gradient": 6, "knit": 5, "denim": 3,
    "logo": 9, "text": 10, "graphic": 20, "blocks": 8, "floral": 6, "abstract": 6,
}  # fmt: skip
BOLD = BOLD_KINDS  # cloths in which a place's colour says where it lies; drawn where named


@dataclass(frozen=True)
class FlatPicture:
    """rgb (h, w, 3) uint8 on near-white; mask (h, w) uint8; worn: the garment, ready to wear;
    texture: its kind.
    """

    rgb: np.ndarray
    mask: np.ndarray
    worn: Worn


def parse_label(garment: Garment) -> int:
    if garment.category == "upper_body":
        return lip.UPPER
    if garment.category == "dresses":
        return lip.DRESS
    return lip.SKIRT if garment.kind == "skirt" else lip.PANTS


def draw_flat(
    rng: np.random.Generator,
    category: str,
    size: tuple[int, int],
    factor: int,
    split: str,
    kind: str | None = None,
    texture: str | None = None,
    under: Garment | None = None,
) -> FlatPicture:
    """Draw a pattern and a cloth, and photograph the garment lying flat.

    Args:
        rng: source of randomness; what is drawn does not depend on ``size`` or ``factor``.
        size: (h, w) of the flat picture.
        factor: supersampling; the worn garment samples the larger picture.
        split: of the data: cloths are disjoint.
        under: the garment that lies over this one where they meet.
    """
    garment = draw_garment(rng, category, kind)
    h, w = size
    if under is not None:
        return FlatPicture(
            None, None, _companion(rng, fit_under(garment, under), size, factor, split)
        )
    mesh = build_mesh(garment)
    frame = flat_frame(mesh, h / w, float(rng.uniform(0.03, 0.08)))
    cloth = draw_cloth_on(rng, h * factor, w * factor, split, texture)
    rgb, mask, layers = photograph(rng, mesh, frame, cloth, size, factor)
    return FlatPicture(rgb, mask, Worn(mesh, frame, cloth, 0.012, parse_label(garment), layers))


def _companion(rng, garment: Garment, size: tuple[int, int], factor: int, split: str) -> Worn:
    """A garment that only completes the outfit: its cloth lies the same however much of it is cut
    away.
    """
    h, w = size
    cloth = draw_cloth_on(rng, h * factor, w * factor, split, None)
    frame = _whole_frame(garment.kind, garment.category, h / w)
    return Worn(build_mesh(garment), frame, cloth, 0.006, parse_label(garment), None)


@cache
def _whole_frame(kind: str, category: str, aspect: float) -> FlatFrame:
    whole = Garment(kind, category, sleeve=0.44, hem=0.0 if category == "upper_body" else -0.7)
    return flat_frame(build_mesh(whole), aspect)


def draw_cloth_on(rng, height: int, width: int, split: str, texture: str | None) -> Cloth:
    """Cloth over a flat frame of this many pixels; ``texture=None`` draws an everyday kind."""
    own = np.random.default_rng(int(rng.integers(2**62)))
    chances = np.array(list(TEXTURES.values()))
    drawn = list(TEXTURES)[int(own.choice(len(chances), p=chances / chances.sum()))]
    texture = texture or drawn
    front = draw_cloth(own, height, width, kind=texture, split=split)
    ground = np.median(front.reshape(-1, 3), axis=0).astype(np.float32)
    back = front
    if texture not in ALL_OVER:
        back = np.broadcast_to(ground.astype(np.uint8), (2, 2, 3)).copy()
    trim = np.clip(ground * own.uniform(0.55, 0.9), 0, 255).astype(np.float32)
    band = float(own.choice([0.0, 0.008, 0.014, 0.022]))
    return Cloth(front, back, _draw_folds(own), trim, band)


def _draw_folds(rng: np.random.Generator, size: int = 48) -> np.ndarray:
    """(k, k) brightness about 1: long soft folds, mostly along the body."""
    import cv2

    out = np.zeros((size, size), np.float32)
    for across, along, depth in ((5, 4, 0.05), (12, 5, 0.05), (9, 14, 0.025)):
        coarse = rng.standard_normal((along, across)).astype(np.float32)
        out += depth * cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return 1 + out


def photograph(
    rng: np.random.Generator, mesh: GarmentMesh, frame: FlatFrame, cloth: Cloth, size, factor: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The flat picture (h, w, 3) uint8 on near-white, its mask (h, w) uint8, and its layers
    (h * factor, w * factor).
    """
    paper = rng.uniform(243, 255, 3).astype(np.float32)
    flat_light = rng.uniform(0.94, 1.0)
    h, w = size[0] * factor, size[1] * factor
    flat = frame(mesh.flat)
    height = np.where(mesh.front, 1.5, 2.0)
    skirt = np.zeros(len(flat), bool)
    skirt[mesh.faces[mesh.skirt].reshape(-1)] = True
    height[skirt & mesh.front] = 1.0
    points = np.concatenate([flat * np.array([w, h]), height[:, None]], axis=1)
    collar = collar_vertices(mesh)[mesh.faces].all(1)
    drawn = mesh.front[mesh.faces[:, 0]] | collar
    faces = mesh.faces[drawn]
    fragments: Fragments = rasterize(points, faces, (h, w))
    covered, face = fragments.covered, fragments.face
    values = np.concatenate([flat, mesh.edge[:, None]], axis=1)
    values = interpolate(fragments, faces, values)  # (P, 3)
    front = ~collar[drawn][face[covered]]
    colors, folds = dye(cloth, values[:, :2], values[:, 2], front)
    light = flat_light * (1 + 0.35 * (folds - 1)) * np.where(front, 1.0, 0.72)
    # Cloth turns away at its outline: a soft dark rim.
    light = light * (0.90 + 0.10 * np.clip(values[:, 2] / 0.03, 0, 1))
    rgb = np.broadcast_to(paper, (h, w, 3)).copy()
    rgb[covered] = colors * light[:, None]
    rgb = np.clip(rgb, 0, 255).astype(np.uint8)
    layers = np.zeros((h, w), np.uint8)
    layers[covered] = np.where(front, np.where(mesh.skirt[drawn][face[covered]], 2, 1), 0)
    middle = slice(factor // 2, None, factor)
    return downsample(rgb, factor), covered[middle, middle].astype(np.uint8), layers
