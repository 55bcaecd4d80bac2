"""DeepFashion In-shop's layouts (METHODS.md 6.3): two photographs of a person in the same clothes.

One tree holds what pose transfer reads (``img_highres``, ``fashion-pairs-*.csv``, ``*.lst``) and
what 3D-GCL reads (``Deepfashion_512_320``, ``densepose``, ``smpl``, ``*_psw512.csv``). Where the
original ships pickles, which run code when they are opened, the same arrays lie in ``.npz``.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vtonlab.synthetic.body import load_body
from vtonlab.synthetic.dataset import SyntheticTryOn
from vtonlab.synthetic.writer import Job, Settings
from vtonlab.synthetic.writer_files import (
    jpeg,
    lines,
    npy,
    npz,
    openpose_json,
    palette_png,
)

VIEWS = ("first", "second")
_KINDS = {"upper_body": "Tees_Tanks", "lower_body": "Pants", "dresses": "Dresses"}
_VIEW_NAMES = {"first": "1_front", "second": "7_additional"}
_FOLDER = "Deepfashion_512_320"  # the name it ships under, whatever the size
_BACKGROUND = np.iinfo(np.uint32).max  # of the face-visibility map


class SecondView(SyntheticTryOn):
    """The same people in the same clothes, each in another pose before another camera."""

    def rng(self, index: int, stream: str) -> np.random.Generator:
        return super().rng(index, f"second {stream}" if stream in ("view", "backdrop") else stream)


class DeepFashionLayout:
    """Pairs of photographs; the second one shows the garment to be carried to the first's pose.

    Per photograph: picture (twice, under both names), LIP parse, BODY_25 keypoints, DensePose
    labels and UV, projected body vertices with the map of visible faces. Vertices are in pixels,
    pixel centres at + 0.5, with the depth in metres; the map holds face numbers and 2^32 - 1.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.masks != "png":
            raise ValueError(
                "DeepFashion ships no mask pictures, so masks coco has nothing to replace; use png"
            )
        self.settings = settings
        self.counts = settings.split_by(tuple(_KINDS))

    def open(self, dataset: str) -> SyntheticTryOn:
        category, view, split = dataset.split("/")
        kind = SecondView if view == "second" else SyntheticTryOn
        return kind(
            split=split,
            size=self.settings.size,
            length=self.counts[category, split],
            seed=self.settings.seed,
            categories=(category,),
            maps=("parse", "keypoints", "iuv"),
            with_body=True,
        )

    def jobs(self) -> list[Job]:
        jobs, number = [], 0
        for (category, split), count in self.counts.items():
            for index in range(count):
                number += 1
                name = f"WOMEN/{_KINDS[category]}/id_{number:08d}/01_"
                jobs += [
                    Job(f"{category}/{v}/{split}", index, name + _VIEW_NAMES[v]) for v in VIEWS
                ]
        return jobs

    def paths(self, job: Job) -> list[str]:
        flat = _flat(job)
        return [
            f"img_highres/{job.name}.jpg",
            f"{_FOLDER}/image/{flat}.jpg",
            f"{_FOLDER}/parsing/{flat}_label.png",
            f"{_FOLDER}/keypoints/{flat}_keypoints.json",
            f"densepose/{flat}.npz",
            f"smpl/{flat}.npz",
        ]

    def files(self, job: Job, sample: Mapping) -> dict[str, bytes]:
        height, width = sample["person"].shape[:2]
        picture, iuv, body = jpeg(sample["person"]), sample["iuv"], sample["body"]
        uv = np.moveaxis(iuv[..., 1:], -1, 0).astype(np.float32) / np.float32(255)
        data = (
            picture,
            picture,
            palette_png(sample["parse"]),
            openpose_json(sample["keypoints"], height, width),
            npz({"labels": iuv[..., 0], "uv": uv}),
            body_file(body),
        )
        return dict(zip(self.paths(job), data, strict=True))

    def lists(self) -> dict[str, bytes]:
        found = mesh_files()
        for split in dict.fromkeys(split for _, split in self.counts):
            names = [f"{_flat(job)}.jpg" for job in self.jobs() if job.dataset.endswith(split)]
            pairs = [("from", "to"), *zip(names[1::2], names[::2], strict=True)]
            for name in (f"{split}_psw512.csv", f"fashion-pairs-{split}.csv"):
                found[name] = lines(pairs, ",")
            found[f"{split}.lst"] = lines([(name,) for name in names])
        return found

    def summaries(self, root: Path) -> dict[str, bytes]:
        return {}


def body_file(body: Mapping) -> bytes:
    """A photograph's projected vertices and visible faces, as 3D-GCL reads them: pixel i has the
    coordinate i, not i + 0.5.
    """
    faces = body["visibility"]
    visible = np.where(faces < 0, _BACKGROUND, faces).astype(np.uint32)
    vertices = body["vertices"] - np.float32([0.5, 0.5, 0.0])
    return npz({"pred_vertices_img": vertices, "visibility": visible})


def mesh_files() -> dict[str, bytes]:
    """What all bodies share: faces, left-right partners and the body part of each vertex."""
    model = load_body()
    mesh = model.meshes["body"]
    return {
        "smpl/smpl_faces.npy": npy(mesh.faces.astype(np.int32)),
        "smpl/vertices_symm_idxs.npy": npy(model.data["body_mirror"]),
        "smpl/vertices_semantic_idxs.npy": npy(model.weights[mesh.rows].argmax(1)),
    }


def _flat(job: Job) -> str:
    """``WOMEN/Pants/id_00000001/01_1_front`` -> ``fashionWOMENPantsid0000000101_1front``."""
    people, kind, number, view = job.name.split("/")
    item, count, side = view.split("_")
    return f"fashion{people}{kind}{number.replace('_', '')}{item}_{count}{side}"
