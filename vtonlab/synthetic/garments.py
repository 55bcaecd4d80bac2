"""Garments as cut and loosened parts of the tights and the skirt of the body asset, with their flat
layout.

A garment's cut is a function of the template body alone, so every wearer wears the same pattern:
its flat picture is the front half laid flat (the asset's as-rigid-as-possible layout, one to one),
with the inside of the back collar behind it.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from vtonlab.synthetic.body import BodyModel, load_body
from vtonlab.synthetic.clipping import Cut, clip

KINDS = {
    "upper_body": ("t_shirt", "long_sleeve", "sleeveless"),
    "lower_body": ("trousers", "skirt"),
    "dresses": ("dress",),
}
ALL_KINDS = tuple(kind for kinds in KINDS.values() for kind in kinds)


@dataclass(frozen=True)
class Garment:
    """One garment's pattern. Heights are those of the template body, metres above its middle.

    kind: one of ALL_KINDS; category: try-on category
    neck: crew, v, scoop or boat; sleeve: end of the sleeve along the arm in metres, negative for
        none
    hem: lower end; waist: upper end of a lower garment
    ease: metres off the skin; loose: 0 tight to 1 straight cut; flare: widening of a skirt per
        metre
    waves: folds around a skirt, their depth in metres, their phase
    """

    kind: str
    category: str
    neck: str = "crew"
    sleeve: float = -1.0
    hem: float = 0.0
    waist: float = 0.15
    ease: float = 0.012
    loose: float = 0.4
    flare: float = 0.0
    waves: tuple[float, float, float] = (8.0, 0.0, 0.0)
    under: bool = False  # it ends under another garment

    @property
    def has_skirt(self) -> bool:
        return self.kind in ("skirt", "dress")

    @property
    def has_tights(self) -> bool:
        return self.kind != "skirt"


def fit_under(companion: Garment, target: Garment) -> Garment:
    """Cut a companion where the target covers it: trousers end under a shirt's hem, a shirt in a
    waistband.
    """
    if target.category == "upper_body":
        return replace(companion, under=True, waist=min(companion.waist, target.hem + 0.03))
    return replace(companion, under=True, hem=max(companion.hem, target.waist - 0.02))


def draw_garment(rng: np.random.Generator, category: str, kind: str | None = None) -> Garment:
    """A random pattern of one category (and kind)."""
    kind = kind or str(rng.choice(KINDS[category]))
    neck = str(rng.choice(["crew", "crew", "v", "scoop", "boat"]))
    loose, ease = rng.uniform(0.1, 0.8), rng.uniform(0.008, 0.018)
    waves = (float(rng.integers(5, 10)), rng.uniform(0.006, 0.022), rng.uniform(0, 6.28))
    sleeve = _draw_sleeve(rng, kind)
    common = {"kind": kind, "category": category, "neck": neck, "ease": ease, "loose": loose}
    if category == "upper_body":
        hem = rng.uniform(-0.01, 0.09) if rng.random() < 0.85 else rng.uniform(0.12, 0.17)
        return Garment(**common, sleeve=sleeve, hem=hem, waist=1.0)
    if kind == "trousers":
        hem = -rng.uniform(0.66, 0.725) if rng.random() < 0.65 else -rng.uniform(0.2, 0.4)
        return replace(Garment(**common), hem=hem, waist=rng.uniform(0.11, 0.17))
    hem = -rng.uniform(0.12, 0.60)
    flare = rng.uniform(-0.10, 0.35)
    if kind == "skirt":
        waist = rng.uniform(0.12, 0.17)
        return Garment(**common, hem=hem, waist=waist, flare=flare, waves=waves)
    return Garment(**common, sleeve=sleeve, hem=hem, waist=1.0, flare=flare, waves=waves)


def _draw_sleeve(rng: np.random.Generator, kind: str) -> float:
    if kind == "sleeveless" or (kind == "dress" and rng.random() < 0.4):
        return -1.0
    if kind == "long_sleeve" or (kind == "dress" and rng.random() < 0.35):
        return rng.uniform(0.36, 0.44)
    return rng.uniform(0.11, 0.22)


DRESS_WAIST = 0.165  # where the skirt of a dress hangs from its bodice


@dataclass(frozen=True)
class GarmentMesh:
    """A cut garment, independent of its wearer.

    rows: (V0,) rows of its source vertices in the body model's joined arrays
    cut: the cut, from those vertices to the garment's V
    offsets: (V0, 3) template displacement off the skin
    flat: (V, 2) metres in the layout; front: (V,) bool, it lies in the flat picture
    edge: (V,) metres to the nearest hem, neckline or sleeve end
    skirt: (F,) bool, the face belongs to the skirt (over the bodice)
    cover: (V_tights,) metres inside the garment, for hiding the skin under it
    tucked: (V,) 0 to 1 near an edge that lies under another garment
    """

    garment: Garment
    rows: np.ndarray
    cut: Cut
    offsets: np.ndarray
    flat: np.ndarray
    front: np.ndarray
    edge: np.ndarray
    skirt: np.ndarray
    cover: np.ndarray
    tucked: np.ndarray

    @property
    def faces(self) -> np.ndarray:
        return self.cut.faces


def build_mesh(garment: Garment) -> GarmentMesh:
    """Cut a garment out of the asset."""
    model = load_body()
    parts = []
    cover = np.full(len(model.data["tights_vertices"]), -1.0, np.float32)
    if garment.has_tights:
        keep = _tights_keep(model, garment)
        cover = keep
        parts.append((model.meshes["tights"], keep, _tights_offsets(model, garment), "tights"))
    if garment.has_skirt:
        keep = _skirt_keep(model, garment)
        parts.append((model.meshes["skirt"], keep, _skirt_offsets(model, garment), "skirt"))
    rows, cuts, offsets, flats, fronts, edges, skirts = [], [], [], [], [], [], []
    old, new = 0, 0
    for mesh, keep, offset, name in parts:
        cut = clip(mesh.faces, keep)
        first, second = cut.first + old, cut.second + old
        cuts.append(Cut(cut.faces + new, first, second, cut.share))
        rows.append(np.arange(mesh.rows.start, mesh.rows.stop))
        offsets.append(offset)
        flats.append(cut.apply(_layout(model, garment, name)))
        fronts.append(model.data[f"{name}_front"][cut.first])
        border = _borders(model, garment, name, keep)
        edges.append(cut.apply(border[:, None])[:, 0])
        skirts.append(np.full(len(cut.faces), name == "skirt"))
        old, new = old + len(keep), new + len(cut.first)
    joined = Cut(*(np.concatenate([getattr(c, f) for c in cuts]) for f in Cut.__annotations__))
    return GarmentMesh(
        garment, np.concatenate(rows), joined, np.concatenate(offsets), np.concatenate(flats),
        np.concatenate(fronts), np.concatenate(edges), np.concatenate(skirts), cover,
        _tucked(garment, joined.apply(model.vertices[np.concatenate(rows)])[:, 1]),
    )  # fmt: skip


def _tucked(garment: Garment, y: np.ndarray) -> np.ndarray:
    if not garment.under:
        return np.zeros(len(y), np.float32)
    into = y - garment.waist if garment.category == "lower_body" else garment.hem - y
    return np.clip(1 + into / 0.10, 0, 1).astype(np.float32)


def _borders(model: BodyModel, garment: Garment, name: str, keep: np.ndarray) -> np.ndarray:
    """(V,) metres to the nearest visible border: the seam at a dress's waist is none."""
    if garment.kind != "dress":
        return keep
    if name == "skirt":
        return model.data["skirt_vertices"][:, 1] - garment.hem
    return _tights_keep(model, replace(garment, kind="t_shirt", hem=-1.0))


def _tights_keep(model: BodyModel, garment: Garment) -> np.ndarray:
    """(V,) metres inside the cut of the tights."""
    x, y, z = model.data["tights_vertices"].T
    arm = model.data["tights_arm"].astype(np.float32)
    if garment.category == "lower_body":
        return np.minimum(garment.waist - y, y - garment.hem)
    hem = DRESS_WAIST - 0.07 if garment.kind == "dress" else garment.hem
    # Below the shoulders only: the hands hang lower than a hem.
    keep = np.where(arm > 0.05, 1.0, y - hem)
    keep = np.minimum(keep, _neckline(garment.neck, np.abs(x), y, z))
    if garment.sleeve > 0:
        return np.minimum(keep, np.where(arm > -0.5, garment.sleeve - arm, 1.0)).astype(np.float32)
    # Sleeveless: an armhole around the shoulder, from its top to the armpit.
    armhole = np.minimum(0.145 + 0.25 * np.clip(0.40 - y, 0, None) ** 0.8, 0.26)
    return np.minimum(keep, armhole - np.abs(x)).astype(np.float32)


NECKS = {"crew": (0.078, 0.095), "v": (0.085, 0.19), "scoop": (0.10, 0.15), "boat": (0.125, 0.09)}


def _neckline(neck: str, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """(V,) about metres outside the neck opening; lower in front than behind."""
    width, depth = NECKS[neck]
    front = np.clip((z + 0.02) / 0.07, 0, 1)
    front = front * front * (3 - 2 * front)
    drop = 0.05 + (depth - 0.05) * front
    across, down = x / width, np.minimum(y - 0.60, 0) / drop
    if neck == "v":
        reach = np.where(z > 0.02, across + np.abs(down), np.hypot(across, down))
    else:
        reach = np.hypot(across, down)
    return (reach - 1) * np.minimum(width, drop)


def _skirt_keep(model: BodyModel, garment: Garment) -> np.ndarray:
    y = model.data["skirt_vertices"][:, 1]
    top = DRESS_WAIST if garment.kind == "dress" else garment.waist
    return np.minimum(top - y, y - garment.hem)


def _tights_offsets(model: BodyModel, garment: Garment) -> np.ndarray:
    normals = model.part("tights", model.normals)
    hang = model.data["tights_hang"].astype(np.float32)
    return normals * np.float32(garment.ease) + hang * np.float32(garment.loose)


def _skirt_offsets(model: BodyModel, garment: Garment) -> np.ndarray:
    """Outwards by the ease, wider on the way down, in waves."""
    x, y, z = model.data["skirt_vertices"].T
    down = np.clip(DRESS_WAIST - y, 0, None)
    angle = np.arctan2(z, x)
    count, depth, phase = garment.waves
    wave = depth * np.sin(count * angle + phase) * np.clip(down / 0.4, 0, 1)
    radial = np.stack([np.cos(angle), np.zeros_like(x), np.sin(angle)], axis=1)
    reach = garment.ease + 0.010 + garment.flare * down * 0.5 + wave
    return (radial * reach[:, None]).astype(np.float32)


def _layout(model: BodyModel, garment: Garment, name: str) -> np.ndarray:
    """(V, 2) flat metres. The skirt's width follows its flare."""
    flat = model.data[f"{name}_flat"]
    if name != "skirt":
        return flat
    down = np.clip(DRESS_WAIST - model.data["skirt_vertices"][:, 1], 0, None)
    wide = 1 + garment.flare * 1.6 * down
    if garment.kind != "dress":
        return (flat * np.stack([wide, np.ones_like(wide)], axis=1)).astype(np.float32)
    # Hang the skirt from the bodice: same middle, height and width at the waist.
    (x, y, half), (x0, y0, half0) = _waist_line("tights"), _waist_line("skirt")
    fit = 1 + (half / half0 - 1) * np.exp(-down / 0.15)
    flat = np.stack([(flat[:, 0] - x0) * wide * fit + x, flat[:, 1] - y0 + y], axis=1)
    return flat.astype(np.float32)


@cache
def _waist_line(name: str) -> tuple[float, float, float]:
    """Middle (x, y) and half width of a front's flat layout where it passes the waist of a
    dress.
    """
    model = load_body()
    x, height, _ = model.data[f"{name}_vertices"].T
    flat = model.data[f"{name}_flat"]
    near = model.data[f"{name}_front"] & (np.abs(height - DRESS_WAIST) < 0.04)
    near &= np.abs(x) < 0.3  # not the wrists
    slope, at = np.polyfit(height[near], flat[near, 1], 1)
    low, high = flat[near, 0].min(), flat[near, 0].max()
    return (low + high) / 2, slope * DRESS_WAIST + at, (high - low) / 2


@dataclass(frozen=True)
class FlatFrame:
    """Similarity from flat metres to [0, 1] over a garment picture of one aspect: ``(flat - middle)
    * scale + 0.5``.
    """

    middle: np.ndarray  # (2,)
    scale: np.ndarray  # (2,)

    def __call__(self, flat: np.ndarray) -> np.ndarray:
        return ((flat - self.middle) * self.scale + 0.5).astype(np.float32)


def flat_frame(mesh: GarmentMesh, aspect: float, margin: float = 0.05) -> FlatFrame:
    """Fit a garment's front into a picture of height / width = ``aspect``."""
    front = mesh.flat[mesh.front]
    low, high = front.min(0), front.max(0)
    low = low - np.array([0, 0.02])  # room for the back collar
    room = 1 - 2 * margin
    per_metre = min(room / (high[0] - low[0]), room * aspect / (high[1] - low[1]))  # of the width
    return FlatFrame((low + high) / 2, np.array([per_metre, per_metre / aspect]))


def collar_vertices(mesh: GarmentMesh) -> np.ndarray:
    """(V,) bool: vertices of the back whose inside shows in the neck opening of the flat
    picture.
    """
    if mesh.garment.category == "lower_body":
        return np.zeros(len(mesh.front), bool)
    width, depth = NECKS[mesh.garment.neck]
    x, y, _ = mesh.cut.apply(load_body().vertices[mesh.rows]).T
    return ~mesh.front & (np.abs(x) < width + 0.02) & (y > 0.60 - depth - 0.05)
