"""One person in one outfit to pixels, with the truth that only a renderer knows."""

from dataclasses import dataclass, field

import numpy as np

from vtonlab.ops import agnostic as lip
from vtonlab.ops.body import Camera
from vtonlab.ops.geometry import downsample, sample_bilinear
from vtonlab.ops.rasterize import Fragments, interpolate, rasterize
from vtonlab.synthetic.appearance import (
    Look,
    hair_share,
    light_on,
    paint_eyes,
    paint_hair,
    paint_skin,
)
from vtonlab.synthetic.body import BodyModel, Posed, load_body
from vtonlab.synthetic.garments import FlatFrame, GarmentMesh

BODY, EYES, HAIR, SHOES, FIRST_GARMENT = 0, 1, 2, 3, 4
JOINT_LABELS = {
    12: lip.JUMPSUIT, 15: lip.FACE, 16: lip.LEFT_ARM, 18: lip.LEFT_ARM, 20: lip.LEFT_ARM,
    22: lip.LEFT_ARM, 17: lip.RIGHT_ARM, 19: lip.RIGHT_ARM, 21: lip.RIGHT_ARM, 23: lip.RIGHT_ARM,
    1: lip.LEFT_LEG, 4: lip.LEFT_LEG, 7: lip.LEFT_LEG, 10: lip.LEFT_LEG, 2: lip.RIGHT_LEG,
    5: lip.RIGHT_LEG, 8: lip.RIGHT_LEG, 11: lip.RIGHT_LEG,
}  # fmt: skip


@dataclass(frozen=True)
class Cloth:
    """Pictures over a garment's flat frame.

    front (h, w, 3) float32: the flat garment's colours, trims included; back: the same for the half
        that no flat
    picture shows; folds (k, k) float32: brightness of folds, about 1; trim (3,): colour of hems,
    trim_width in metres
    """

    front: np.ndarray
    back: np.ndarray
    folds: np.ndarray
    trim: np.ndarray
    trim_width: float


@dataclass(frozen=True)
class Worn:
    """A garment on a person. ``lift`` metres: how much nearer to the camera it is drawn than the
    skin.
    """

    mesh: GarmentMesh
    frame: FlatFrame
    cloth: Cloth
    lift: float
    label: int
    layers: (
        np.ndarray
    )  # (h, w) uint8 over the frame: 0 nothing, 1 the bodice's front, 2 the skirt's

    def shown_flat(self, flat: np.ndarray, skirt: np.ndarray) -> np.ndarray:
        """(P,) bool: the flat picture shows these places, not the skirt over the bodice."""
        h, w = self.layers.shape
        x = np.clip((flat[:, 0] * w).astype(int), 0, w - 1)
        y = np.clip((flat[:, 1] * h).astype(int), 0, h - 1)
        return skirt | (self.layers[y, x] != 2)


@dataclass(frozen=True)
class Person:
    """vertices (V, 3), joints (24, 3): the shaped rest body; posed: its pose; camera: for a picture
    of size (h, w).
    """

    shape: np.ndarray
    rotations: np.ndarray
    vertices: np.ndarray
    posed: Posed
    look: Look
    camera: Camera


@dataclass
class Surface:
    """A mesh ready to draw, part by part.

    attributes: template position of body parts, or flat x, flat y and metres to the edge for
        garments.
    """

    points: list = field(default_factory=list)
    normals: list = field(default_factory=list)
    attributes: list = field(default_factory=list)
    faces: list = field(default_factory=list)
    parts: list = field(default_factory=list)
    labels: list = field(default_factory=list)
    extra: list = field(default_factory=list)
    count: int = 0

    def add(self, points, normals, attributes, faces, part, labels, extra=0) -> None:
        self.points.append(points)
        self.normals.append(normals)
        self.attributes.append(attributes)
        self.faces.append(faces + self.count)
        size = len(faces)
        self.parts.append(np.full(size, part, np.int32))
        self.labels.append(np.broadcast_to(np.asarray(labels, np.uint8), (size,)))
        self.extra.append(np.broadcast_to(np.asarray(extra, np.int8), (size,)))
        self.count += len(points)

    def joined(self) -> "Surface":
        names = ("points", "normals", "attributes", "faces", "parts", "labels", "extra")
        arrays = {name: np.concatenate(getattr(self, name)) for name in names}
        return Surface(**arrays, count=self.count)


@dataclass(frozen=True)
class Picture:
    """What one rendering gives, at (h, w).

    rgb uint8; part (h, w) int32, -1 background; labels (h, w) uint8 LIP; face (h, w) int32, index
    into ``surface.faces``; flow (h, w, 2) float32 and visible (h, w) bool of the first garment;
    factor: supersampling of its colours
    """

    rgb: np.ndarray
    part: np.ndarray
    labels: np.ndarray
    flow: np.ndarray
    visible: np.ndarray
    fragments: Fragments
    surface: Surface
    factor: int


def build_surface(person: Person, outfit: list[Worn]) -> Surface:
    """Pose every visible part in camera space; points are projected pixels and depth (of a 1 x
    picture).
    """
    model = load_body()
    surface = Surface()
    rotation = person.camera.rotation
    for part, name in ((BODY, "body"), (EYES, "eyes"), (HAIR, "hair"), (SHOES, "shoes")):
        if name == "hair" and person.look.hair_style != "long":
            continue
        mesh = model.meshes[name]
        rest = model.part(name, person.vertices)
        template = model.part(name, model.vertices)
        faces, labels = mesh.faces, lip.FACE
        normals = model.part(name, model.normals)
        if name == "body":
            faces, labels = _bare_faces(model, outfit)
            rest = rest + _scalp(model, person.look)
        elif name == "shoes":
            labels = np.where(template[faces[:, 0], 0] > 0, lip.LEFT_SHOE, lip.RIGHT_SHOE)
            rest = rest + normals * 0.006
        elif name == "hair":
            labels = lip.HAIR
        points = person.camera.project(person.posed.points(rest, mesh.rows))
        normals = person.posed.directions(normals, mesh.rows) @ rotation.T
        surface.add(points, normals, template, faces, part, labels)
    for k, worn in enumerate(outfit):
        _add_garment(surface, person, worn, FIRST_GARMENT + k)
    return surface.joined()


def _bare_faces(model: BodyModel, outfit: list[Worn]) -> tuple[np.ndarray, np.ndarray]:
    """Body faces that no garment hides wholly, with their LIP labels."""
    faces = model.meshes["body"].faces
    labels = body_labels(model)
    hidden = np.zeros(model.meshes["body"].rows.stop, bool)
    nearest = model.data["body_nearest"]
    template = model.data["body_vertices"]
    for worn in outfit:
        inside = worn.mesh.cover > 0.02
        hidden |= (nearest >= 0) & inside[nearest]
        garment = worn.mesh.garment
        if garment.has_skirt:  # legs under a skirt, well above its hem
            leg = np.isin(model.data["body_joints"][:, 0], (0, 1, 2, 4, 5, 3))
            top = min(garment.waist, 0.15)
            hidden |= leg & (template[:, 1] > garment.hem + 0.03) & (template[:, 1] < top - 0.02)
    shod = template[:, 1] < model.joints[7, 1] + 0.02
    hidden |= shod
    bare = ~hidden[faces].all(1)
    return faces[bare], labels[bare]


def body_labels(model: BodyModel) -> np.ndarray:
    """(F,) uint8 LIP labels of the naked body's faces."""
    table = np.full(24, lip.JUMPSUIT, np.uint8)
    for joint, label in JOINT_LABELS.items():
        table[joint] = label
    joints = model.data["body_joints"][:, 0]
    return table[joints[model.meshes["body"].faces[:, 0]]]


def _scalp(model: BodyModel, look: Look) -> np.ndarray:
    """(V, 3) volume of the hair on the head."""
    template = model.part("body", model.vertices)
    head = model.data["body_joints"][:, 0] == 15
    out = np.zeros_like(template)
    depth = {"short": 0.016, "long": 0.012, "shaved": 0.001}[look.hair_style]
    share = hair_share(template[head])[:, None]
    out[head] = model.part("body", model.normals)[head] * (depth * share).astype(np.float32)
    return out


def garment_points(person: Person, mesh: GarmentMesh) -> np.ndarray:
    """(V, 3) world positions of a worn garment's vertices."""
    model = load_body()
    rest = person.vertices[mesh.rows] + mesh.offsets
    blended = person.posed.blended[mesh.rows]
    posed = np.einsum("vab,vb->va", blended[:, :, :3], rest) + blended[:, :, 3]
    del model
    return mesh.cut.apply(posed)


def _add_garment(surface: Surface, person: Person, worn: Worn, part: int) -> None:
    model, mesh = load_body(), worn.mesh
    points = person.camera.project(garment_points(person, mesh))
    # The skirt of a dress hangs over its bodice; what is tucked away lies behind.
    lift = worn.lift + 0.006 * _skirt_vertices(mesh) - 0.03 * mesh.tucked
    points[:, 2] -= lift
    normals = np.einsum(
        "vab,vb->va", person.posed.blended[mesh.rows][:, :, :3], model.normals[mesh.rows]
    )
    normals = mesh.cut.apply(normals) @ person.camera.rotation.T
    flat = worn.frame(mesh.flat)
    attributes = np.concatenate([flat, mesh.edge[:, None]], axis=1)
    side = np.where(mesh.front[mesh.faces[:, 0]], 1, -1)
    surface.add(points, normals, attributes, mesh.faces, part, worn.label, side)


def _skirt_vertices(mesh: GarmentMesh) -> np.ndarray:
    out = np.zeros(len(mesh.flat), np.float32)
    out[mesh.faces[mesh.skirt].reshape(-1)] = 1
    return out


def render(
    person: Person, outfit: list[Worn], background: np.ndarray, size: tuple[int, int], factor: int
) -> Picture:
    """Draw a person.

    Args:
        person: posed; its camera fits a picture of ``size``.
        outfit: garments; the flow is that of the first.
        background: (h * factor, w * factor, 3) uint8.
        size: (h, w) of the result.
        factor: supersampling of the colours; the truth is taken at the pixel centres.
    """
    h, w = size
    surface = build_surface(person, outfit)
    scaled = surface.points * np.array([factor, factor, 1.0])
    fragments = rasterize(scaled, surface.faces, (h * factor, w * factor))
    rgb = downsample(_shade(fragments, surface, person.look, outfit, background), factor)
    if factor % 2:  # the middle one of each block lies on the pixel's centre
        middle = slice(factor // 2, None, factor)
        centre = Fragments(*(a[middle, middle] for a in fragments))
    else:
        centre = rasterize(surface.points, surface.faces, size)
    return _truth(rgb, centre, surface, outfit, factor)


def _truth(
    rgb: np.ndarray, fragments: Fragments, surface: Surface, outfit: list[Worn], factor: int
) -> Picture:
    covered = fragments.covered
    part = np.where(covered, surface.parts[fragments.face], -1)
    labels = np.where(covered, surface.labels[fragments.face], 0).astype(np.uint8)
    head = covered & (labels == lip.FACE) & (part == BODY)
    if head.any():
        hair = hair_share(interpolate(fragments, surface.faces, surface.attributes, head)) > 0.5
        labels[head] = np.where(hair, lip.HAIR, lip.FACE)
    flow, visible = garment_truth(fragments, surface, outfit, 0)
    return Picture(rgb, part, labels, flow, visible, fragments, surface, factor)


def garment_truth(
    fragments: Fragments, surface: Surface, outfit: list[Worn], number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Flow (h, w, 2) float32 into the flat picture of one garment of the outfit, and where it is
    visible (h, w) bool: its outer side, where the flat picture shows it.
    """
    covered, part = fragments.covered, FIRST_GARMENT + number
    flow = np.zeros((*covered.shape, 2), np.float32)
    face = fragments.face
    visible = covered & (surface.extra[face] == 1) & (surface.parts[face] == part)
    visible[visible] = _outwards(surface, face[visible])
    flow[visible] = interpolate(fragments, surface.faces, surface.attributes, visible)[:, :2]
    if len(outfit) > number and outfit[number].mesh.garment.kind == "dress":
        worn = outfit[number]
        first = np.flatnonzero(surface.parts == part)[0]
        skirt = worn.mesh.skirt[face[visible] - first]
        visible[visible] = worn.shown_flat(flow[visible], skirt)
    flow[~visible] = 0
    return flow, visible


def _outwards(surface: Surface, faces: np.ndarray) -> np.ndarray:
    """(P,) bool: the outer side of each of these faces (P,) looks at the camera (counter-clockwise,
    y up).
    """
    unique, back = np.unique(faces, return_inverse=True)
    a, b, c = (surface.points[surface.faces[unique, i], :2] for i in range(3))
    a, b = b - a, c - a
    return (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] < 0)[back]


def _shade(fragments, surface, look, outfit, background) -> np.ndarray:
    covered = fragments.covered
    values = np.concatenate([surface.normals, surface.attributes], axis=1).astype(np.float32)
    values = interpolate(fragments, surface.faces, values)  # (P, 6)
    face = fragments.face[covered]
    part = surface.parts[face]
    normals = values[:, :3]
    normals = normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-6)
    light = light_on(normals, look)
    colors = np.zeros((len(face), 3), np.float32)
    own = part == BODY
    colors[own] = paint_skin(values[own, 3:], surface.labels[face[own]] == lip.FACE, look)
    own = part == EYES
    colors[own] = paint_eyes(values[own, 3:], look)
    own = part == HAIR
    colors[own] = paint_hair(values[own, 3:], look)
    colors[part == SHOES] = look.shoes
    for k, worn in enumerate(outfit):
        own = part == FIRST_GARMENT + k
        if own.any():
            front = surface.extra[face[own]] > 0
            colors[own], folds = dye(worn.cloth, values[own, 3:5], values[own, 5], front)
            light[own] *= folds
            inner = np.flatnonzero(own)
            inner = inner[~_outwards(surface, face[inner])]
            light[inner] *= 0.62
    picture = background.copy()
    picture[covered] = np.clip(colors * light[:, None], 0, 255)
    return picture


def dye(
    cloth: Cloth, flat: np.ndarray, edge: np.ndarray, front: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Colours (P, 3) and fold brightness (P,) of cloth at flat places (P, 2), ``edge`` metres from
    its border.
    """
    colors = sample_bilinear(cloth.front, flat).astype(np.float32)
    if not front.all():
        colors[~front] = sample_bilinear(cloth.back, flat[~front])
    trim = np.clip((cloth.trim_width - edge) / 0.003 + 0.5, 0, 1)[:, None]
    colors += trim * (cloth.trim - colors)
    return colors, sample_bilinear(cloth.folds, flat)
