"""MPV's layout (METHODS.md 6.4): a garment and two photographs of the person who wears it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vtonlab.synthetic.dataset import SyntheticTryOn
from vtonlab.synthetic.writer import Job, Settings
from vtonlab.synthetic.writer_deepfashion import (
    VIEWS,
    SecondView,
    body_file,
    mesh_files,
)
from vtonlab.synthetic.writer_files import jpeg, lines, openpose_json, palette_png, png

LIST = "all_poseA_poseB_clothes_0607.txt"
_VIEW_NAMES = {"first": "8=person_half_front", "second": "9=person_half_side"}
_GARMENT_NAME = "10=cloth_front"


class MPVLayout:
    """``all/<garment>/<garment>@<n>=<what>.jpg`` and the maps of both photographs.

    The list pairs the two photographs of each person; upper body alone.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.masks != "png":
            raise ValueError("MPV ships no mask pictures, so masks coco has nothing to replace")
        settings.require(sets=1)
        self.settings = settings

    def open(self, dataset: str) -> SyntheticTryOn:
        view, split = dataset.split("/")
        kind = SecondView if view == "second" else SyntheticTryOn
        return kind(
            split=split,
            size=self.settings.size,
            length=self.settings.counts()[split],
            seed=self.settings.seed,
            categories=("upper_body",),
            maps=("parse", "keypoints", "iuv"),
            with_body=True,
        )

    def jobs(self) -> list[Job]:
        jobs, number = [], 0
        for split, count in self.settings.counts().items():
            for index in range(count):
                number += 1
                jobs += [Job(f"{view}/{split}", index, f"VT{number:06d}-Q11") for view in VIEWS]
        return jobs

    def paths(self, job: Job) -> list[str]:
        view = _VIEW_NAMES[job.dataset.partition("/")[0]]
        name = f"{job.name}/{job.name}@{view}"
        found = [
            f"all/{name}.jpg",
            f"all_parsing/{name}.png",
            f"all_keypoints/{name}_keypoints.json",
            f"all_densepose/{name}_IUV.png",
            f"all_smpl/{name}.npz",
        ]
        if job.dataset.startswith("first"):
            found.append(f"all/{job.name}/{job.name}@{_GARMENT_NAME}.jpg")
        return found

    def files(self, job: Job, sample: Mapping) -> dict[str, bytes]:
        height, width = sample["person"].shape[:2]
        data = [
            jpeg(sample["person"]),
            palette_png(sample["parse"]),
            openpose_json(sample["keypoints"], height, width),
            png(np.ascontiguousarray(sample["iuv"][..., ::-1])),  # as OpenCV stores parts, U, V
            body_file(sample["body"]),
        ]
        if job.dataset.startswith("first"):
            data.append(jpeg(sample["garment"]))
        return dict(zip(self.paths(job), data, strict=True))

    def lists(self) -> dict[str, bytes]:
        rows = []
        for job in self.jobs():
            view, split = job.dataset.split("/")
            if view == "first":
                kinds = (*_VIEW_NAMES.values(), _GARMENT_NAME)
                rows.append((*(f"{job.name}/{job.name}@{kind}.jpg" for kind in kinds), split))
        return {LIST: lines(rows), **mesh_files()}

    def summaries(self, root: Path) -> dict[str, bytes]:
        return {}
