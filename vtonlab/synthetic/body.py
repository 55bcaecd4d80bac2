"""The body: a CC0 human mesh on the SMPL tree with shape parameters, poses it and gives its
landmarks.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from vtonlab.ops.body import blend_transforms, joint_transforms, skin
from vtonlab.utils.bounded import read_npz

ASSET = Path(__file__).resolve().parent / "assets" / "body.npz"
MESHES = ("body", "eyes", "hair", "shoes", "tights", "skirt")


@dataclass(frozen=True)
class Mesh:
    """One part of the asset. ``rows`` are its vertices in the joined arrays of
    :class:`BodyModel`.
    """

    rows: slice
    faces: np.ndarray  # (F, 3) int, into its own vertices


class BodyModel:
    """The asset, with all meshes joined so that one product shapes or skins everything.

    vertices (V, 3), shapes (K, V, 3), weights (V, 24), normals (V, 3), joints (24, 3), joint_shapes
    (K, 24, 3)
    """

    def __init__(self, path: Path = ASSET) -> None:
        self.data = read_npz(path)
        self.meshes, start = {}, 0
        for name in MESHES:
            count = len(self.data[f"{name}_vertices"])
            faces = self.data[f"{name}_faces"].astype(np.int64)
            self.meshes[name] = Mesh(slice(start, start + count), faces)
            start += count
        self.vertices = self._joined("vertices")
        self.normals = self._joined("normals")
        self.shapes = np.concatenate(
            [self.data[f"{n}_shapes"].astype(np.float32) for n in MESHES], axis=1
        )
        self.weights = np.zeros((start, 24), np.float32)
        for name in MESHES:
            rows = np.arange(start)[self.meshes[name].rows]
            strengths = self.data[f"{name}_weights"].astype(np.float32) / 255
            for k in range(4):  # a joint may be named twice, with weight 0
                np.add.at(self.weights, (rows, self.data[f"{name}_joints"][:, k]), strengths[:, k])
        self.joints = self.data["joints"].astype(np.float32)
        self.joint_shapes = self.data["joint_shapes"]
        self.shape_names = tuple(str(n) for n in self.data["shape_names"])

    def _joined(self, field: str) -> np.ndarray:
        return np.concatenate([self.data[f"{n}_{field}"].astype(np.float32) for n in MESHES])

    def shape(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rest vertices (V, 3) and joints (24, 3) for shape parameters (K,)."""
        parameters = np.asarray(parameters, np.float32)
        count = len(parameters)
        vertices = self.vertices + (parameters @ self.shapes.reshape(count, -1)).reshape(-1, 3)
        joints = self.joints + (parameters @ self.joint_shapes.reshape(count, -1)).reshape(-1, 3)
        return vertices, joints

    def pose(self, joints: np.ndarray, rotations: np.ndarray) -> "Posed":
        """Skinning transforms for rest joints (24, 3) and world rotations (24, 3, 3)."""
        transforms, posed = joint_transforms(joints, rotations)
        return Posed(blend_transforms(self.weights, transforms), posed.astype(np.float32))

    @property
    def faces(self) -> np.ndarray:
        """(F, 3) of the body alone, as body maps index them (``with_body=True``)."""
        return self.meshes["body"].faces

    @property
    def mirror(self) -> np.ndarray:
        """(V,) left-right partner of each body vertex."""
        return self.data["body_mirror"]

    def part(self, name: str, values: np.ndarray) -> np.ndarray:
        """The rows of one mesh in an array over all vertices."""
        return values[self.meshes[name].rows]


@dataclass(frozen=True)
class Posed:
    """blended (V, 3, 4): transform of every vertex; joints (24, 3): posed."""

    blended: np.ndarray
    joints: np.ndarray

    def points(self, vertices: np.ndarray, rows: slice) -> np.ndarray:
        return skin(vertices, self.blended[rows])

    def directions(self, normals: np.ndarray, rows: slice) -> np.ndarray:
        return np.einsum("vab,vb->va", self.blended[rows][:, :, :3], normals)


@cache
def load_body() -> BodyModel:
    """The shipped body, read once per process."""
    return BodyModel()


def draw_shape(rng: np.random.Generator) -> np.ndarray:
    """Shape parameters (K,) of an adult: sex first, the rest around it."""
    model = load_body()
    sex = float(np.clip(rng.choice([-1.0, 1.0]) * rng.uniform(0.7, 1.0), -1, 1))
    values = {
        "gender": sex,
        "weight": np.clip(rng.normal(-0.05, 0.35), -0.7, 0.8),
        "muscle": np.clip(rng.normal(0.1 * sex, 0.3), -0.7, 0.7),
        "height": np.clip(rng.normal(0.0, 0.25), -0.5, 0.5),
        "proportions": rng.uniform(0.0, 0.8),
        "african": rng.uniform(0, 0.8),
        "asian": rng.uniform(0, 0.8),
        "age": rng.uniform(0, 0.4),
        "breast": rng.uniform(-0.3, 0.5) * (sex < 0),
        "leg_length": rng.uniform(-0.3, 0.3),
        "arm_length": rng.uniform(-0.25, 0.25),
        "hip_width": rng.uniform(-0.4, 0.4),
    }
    return np.array([values[name] for name in model.shape_names], np.float32)
