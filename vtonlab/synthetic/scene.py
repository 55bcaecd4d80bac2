"""Drawing a whole scene: a person, a pose, a camera, an outfit and a background, from named random
streams.
"""

import numpy as np

from vtonlab.ops.body import Camera, axis_rotation, orbit_camera
from vtonlab.synthetic.appearance import draw_look
from vtonlab.synthetic.background import draw_background
from vtonlab.synthetic.body import draw_shape, load_body
from vtonlab.synthetic.garments import Garment
from vtonlab.synthetic.outfit import FlatPicture, draw_flat
from vtonlab.synthetic.poses import draw_pose
from vtonlab.synthetic.render import Person, Worn

OTHER_HALF = {"upper_body": "lower_body", "lower_body": "upper_body"}  # worn with it
HEAD, HIP, KNEE, ANKLE, NECK = 15, 0, 4, 7, 12


def draw_person(
    identity: np.random.Generator,
    view: np.random.Generator,
    hardness: float,
    category: str,
    size: tuple[int, int],
    framing: float = 0.0,
) -> Person:
    """One person in one pose before one camera.

    Args:
        identity: stream of body and looks; equal streams give the same person.
        view: stream of pose and camera.
        hardness: 0 to 1, see :func:`draw_pose`.
        category: decides the framing: upper body, legs or all.
        size: (h, w) of the picture.
        framing: 0 to 1, see :func:`reframe`.
    """
    model = load_body()
    shape = draw_shape(identity)
    feminine = bool(shape[model.shape_names.index("gender")] < 0)
    look = draw_look(identity, feminine)
    vertices, joints = model.shape(shape)
    rotations, _ = draw_pose(view, hardness, joints)
    posed = model.pose(joints, rotations)
    camera = draw_camera(view, hardness, category, posed.joints, size)
    if framing > 0:
        camera = reframe(view, framing, camera, size)
    return Person(shape, rotations, vertices, posed, look, camera)


def draw_camera(
    rng: np.random.Generator,
    hardness: float,
    category: str,
    joints: np.ndarray,
    size: tuple[int, int],
) -> Camera:
    """Frame a posed body (24, 3): head to thighs, waist to feet, or all of it; looser as hardness
    grows.
    """
    h, w = size
    top, bottom = joints[HEAD, 1] + 0.27, joints[[7, 8], 1].min() - 0.15
    if category == "upper_body":
        bottom = joints[HIP, 1] - rng.uniform(0.10, 0.30)
        raised = max(joints[22, 1], joints[23, 1]) + 0.12
        if raised > top and rng.random() < 0.7:
            top = raised
    elif category == "lower_body":
        top = joints[NECK, 1] + (rng.uniform(-0.2, 0.0) if rng.random() < 0.6 else 0.4)
    spread = 0.3 + 0.7 * hardness
    extent = (top - bottom) * (1.02 + abs(rng.normal(0, 0.05 * spread)))
    wide = 2.05 * np.abs(joints[[4, 5, 16, 17, 18, 19], 0] - joints[HIP, 0]).max() + 0.24
    extent = max(extent, min(wide, 1.15 * extent * w / h) * h / w)
    middle = np.array([joints[HIP, 0] * 0.5 + joints[NECK, 0] * 0.5, (top + bottom) / 2, 0.0])
    middle[0] += rng.normal(0, 0.04 * spread) * extent
    middle[1] += rng.normal(0, 0.015 * spread) * extent
    distance = float(rng.uniform(2.6, 4.5))
    pitch = float(np.clip(rng.normal(0, 5 * spread), -14, 14))
    return orbit_camera(middle, distance, pitch, h * distance / extent, (w / 2, h / 2))


def reframe(
    rng: np.random.Generator, framing: float, camera: Camera, size: tuple[int, int]
) -> Camera:
    """Place the person anywhere: as the camera framed it at 0, at 1 up to twice as small, tilted by
    up to 15 degrees, and shifted within the room this leaves and 0.15 of the person's frame beyond.

    Without it people stand alike, and the average body-to-garment map is right for most of them.
    """
    h, w = size
    zoom = rng.uniform(1.0, 1.0 + framing)
    roll = axis_rotation("z", 15.0 * framing * rng.uniform(-1, 1))
    room = 0.5 * (1 - 1 / zoom) + 0.15 * framing / zoom
    x, y = camera.centre + room * rng.uniform(-1, 1, 2) * (w, h)
    return Camera(roll @ camera.rotation, camera.position, camera.focal / zoom, (x, y))


def draw_companions(
    rng: np.random.Generator, target: Garment, size: tuple[int, int], factor: int, split: str
) -> list[Worn]:
    """The rest of the outfit: what is worn with a garment."""
    other = OTHER_HALF.get(target.category)
    if other is None:
        return []
    flat: FlatPicture = draw_flat(rng, other, size, factor, split, under=target)
    return [flat.worn]


def draw_backdrop(rng: np.random.Generator, size: tuple[int, int], factor: int) -> np.ndarray:
    return draw_background(rng, size[0] * factor, size[1] * factor)
