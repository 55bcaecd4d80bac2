"""Skin, faces, hair, shoes and light: what makes a rendered body read as a person.

Everything is painted from the template position of each pixel (metres, the same place on
everybody), so it is sharp at every size and needs no texture picture.
"""

from dataclasses import dataclass

import numpy as np

from vtonlab.synthetic.body import load_body

SKIN = np.array(
    [
        (244, 214, 196), (233, 194, 168), (222, 178, 146), (205, 156, 120), (180, 128, 94),
        (147, 100, 72), (112, 74, 54), (84, 56, 43),
    ],
    np.float32,
)  # fmt: skip
HAIR = np.array(
    [(28, 22, 20), (46, 32, 24), (78, 50, 32), (112, 76, 44), (170, 128, 78), (120, 58, 34),
     (140, 136, 132), (205, 172, 120)],
    np.float32,
)  # fmt: skip
IRIS = np.array(
    [(70, 45, 28), (46, 32, 24), (76, 110, 130), (92, 108, 70), (110, 80, 45)], np.float32
)
SHOES = np.array(
    [(30, 30, 32), (236, 234, 230), (96, 62, 40), (40, 52, 82), (150, 40, 42), (120, 122, 126)],
    np.float32,
)


@dataclass(frozen=True)
class Look:
    """Colours (3,) float32 in 0..255 of one person, and the light on the scene.

    hair_style: short, long or shaved; light: (3,) direction towards the light in camera axes (x
        right, y down, z into
    the scene); ambient: share of light without direction
    """

    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    lips: np.ndarray
    shoes: np.ndarray
    hair_style: str
    light: np.ndarray
    ambient: float


def draw_look(rng: np.random.Generator, feminine: bool) -> Look:
    tone = rng.uniform(0, len(SKIN) - 1)
    low = int(tone)
    skin = SKIN[low] + (SKIN[min(low + 1, len(SKIN) - 1)] - SKIN[low]) * (tone - low)
    skin = skin + rng.uniform(-6, 6, 3)
    dark = tone > 3.5
    hair = HAIR[int(rng.integers(3 if dark else len(HAIR)))] * rng.uniform(0.85, 1.1)
    styles, chances = (
        ("short", "long", "shaved"),
        (0.2, 0.8, 0.0) if feminine else (0.85, 0.05, 0.1),
    )
    red = np.array([190, 84, 84], np.float32)
    lips = skin * np.array([0.86, 0.66, 0.64]) * 0.75 + red * (0.32 if feminine else 0.1)
    light = np.array([rng.uniform(-0.7, 0.7), rng.uniform(-0.9, -0.25), -1.0])
    return Look(
        skin.astype(np.float32),
        hair.astype(np.float32),
        IRIS[int(rng.integers(len(IRIS)))],
        np.clip(lips, 0, 255).astype(np.float32),
        SHOES[int(rng.integers(len(SHOES)))] * np.float32(rng.uniform(0.85, 1.05)),
        str(rng.choice(styles, p=chances)),
        (light / np.linalg.norm(light)).astype(np.float32),
        float(rng.uniform(0.42, 0.6)),
    )


def smoothstep(value: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def hair_share(template: np.ndarray) -> np.ndarray:
    """(P,) 0 to 1: scalp hair at template positions (P, 3) of the head."""
    x, y, z = np.abs(template[:, 0]), template[:, 1], template[:, 2]
    # Hairline: low in the neck, over the ears, down the temples, high on the forehead.
    line = np.interp(
        z, [-0.10, 0.0, 0.045, 0.075, 0.10, 0.14], [0.645, 0.67, 0.715, 0.772, 0.796, 0.797]
    )
    line = line + 0.002 * np.sin(x * 170)
    ear = (x > 0.071) & (y < 0.775) & (z > 0.005) & (z < 0.065)
    return np.where(ear, 0, smoothstep(y, line.astype(np.float32), line.astype(np.float32) + 0.012))


def paint_skin(template: np.ndarray, head: np.ndarray, look: Look) -> np.ndarray:
    """(P, 3) colours of the body at template positions (P, 3); ``head`` (P,) marks head pixels."""
    colors = np.broadcast_to(look.skin, template.shape).copy()
    if not head.any():
        return colors
    p = template[head]
    face = np.broadcast_to(look.skin, p.shape).copy()
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    eye_x, eye_y, mouth_y = _face_places()
    front = z > 0.06

    def blend(share: np.ndarray, color: np.ndarray) -> None:
        face[:] += (share * front)[:, None] * (color - face)

    cheek = np.exp(-(((x - 0.040) / 0.022) ** 2) - ((y - eye_y + 0.040) / 0.022) ** 2)
    blend(0.18 * cheek, look.skin * np.array([1.05, 0.8, 0.78], np.float32))
    socket = np.exp(-(((x - eye_x) / 0.020) ** 2) - ((y - eye_y - 0.004) / 0.012) ** 2)
    blend(0.30 * socket, look.skin * 0.62)
    # Brows: an arc over each eye.
    arc = eye_y + 0.0225 - 7.0 * (x - eye_x - 0.004) ** 2
    brow = (1 - smoothstep(np.abs(y - arc), 0.0022, 0.0048)) * (
        1 - smoothstep(np.abs(x - eye_x - 0.002), 0.017, 0.024)
    )
    blend(0.8 * brow, look.hair * 0.8)
    # Lash line and lids around the eye opening.
    lash = np.exp(-(((x - eye_x) / 0.015) ** 4) - ((y - eye_y - 0.0075) / 0.003) ** 2)
    blend(0.6 * lash, look.hair * 0.35)
    bow = 0.0095 * np.sqrt(np.clip(1 - (x / 0.0245) ** 2, 0, 1))
    lips = 1 - smoothstep(np.abs(y - mouth_y) / (bow + 1e-4), 0.85, 1.15)
    blend(0.85 * lips * (x < 0.0245), look.lips)
    seam = np.exp(-(((y - mouth_y - 0.0005) / 0.0012) ** 2)) * (x < 0.022)
    blend(0.55 * seam, look.lips * 0.35)
    nostril = np.exp(-(((x - 0.0085) / 0.004) ** 2) - ((y - mouth_y - 0.0245) / 0.003) ** 2)
    blend(0.45 * nostril, look.skin * 0.35)
    hair = hair_share(p)[:, None]
    fade = 0.5 if look.hair_style == "shaved" else 1.0
    colors[head] = face + fade * hair * (paint_hair(p, look) - face)
    return colors


def paint_hair(template: np.ndarray, look: Look) -> np.ndarray:
    """(P, 3) hair colour in strands that run from the parting downwards."""
    x, y, z = template.T
    around = np.arctan2(x, z + 0.02)
    strands = np.sin(around * 34 + 3 * np.sin(y * 40)) + 0.6 * np.sin(around * 83 + 9 * x)
    return look.hair * (1 + 0.09 * strands[:, None]).astype(np.float32)


def paint_eyes(template: np.ndarray, look: Look) -> np.ndarray:
    """(P, 3) colours of the eyeballs."""
    eye_x, eye_y, _ = _face_places()
    distance = np.hypot(np.abs(template[:, 0]) - eye_x, template[:, 1] - eye_y)
    white = np.array([226, 222, 218], np.float32)
    iris = (
        smoothstep(distance, 0.0072, 0.0058)[:, None]
        if False
        else 1 - smoothstep(distance, 0.0058, 0.0072)[:, None]
    )
    pupil = 1 - smoothstep(distance, 0.0024, 0.0032)[:, None]
    colors = white + iris * (look.iris - white)
    return colors * (1 - 0.9 * pupil)


def _face_places() -> tuple[float, float, float]:
    """Eye x and y, mouth y on the template."""
    eyes = load_body().data["eyes_vertices"]
    low, high = eyes[eyes[:, 0] > 0].min(0), eyes[eyes[:, 0] > 0].max(0)
    centre = (low + high) / 2
    return float(centre[0]), float(centre[1]), float(centre[1] - 0.0685)


def light_on(normals: np.ndarray, look: Look) -> np.ndarray:
    """(P,) brightness of a surface with unit normals (P, 3) in camera axes, about 0.4 to 1.1."""
    wrapped = np.clip((normals @ look.light + 0.25) / 1.25, 0, 1)
    facing = np.clip(-normals[:, 2], 0, 1)
    sky = 0.5 - 0.5 * normals[:, 1]
    diffuse = 1.0 - look.ambient
    return look.ambient * (0.72 + 0.28 * sky) * (0.80 + 0.20 * facing) + 1.12 * diffuse * wrapped
