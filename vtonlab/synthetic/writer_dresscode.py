"""Dress Code's layout (METHODS.md 6.2): three categories, every folder and list."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vtonlab.ops.labels import lip_to_atr
from vtonlab.ops.skeleton import draw_skeleton
from vtonlab.structures.sample import CATEGORIES
from vtonlab.synthetic.dataset import SyntheticTryOn
from vtonlab.synthetic.writer import Job, Settings
from vtonlab.synthetic.writer_files import coco18_json, jpeg, lines, npz, palette_png, png

KEYPOINT_SIZE = (512, 384)  # of the picture that the keypoint files count pixels in
_FILES = (
    "images/{}_0.jpg",
    "images/{}_1.jpg",
    "keypoints/{}_2.json",
    "label_maps/{}_4.png",
    "skeletons/{}_5.jpg",
    "dense/{}_5.png",
    "dense/{}_5_uv.npz",
    "image-densepose/{}_0.jpg",
)


class DressCodeLayout:
    """``<root>/{upper_body,lower_body,dresses}/<folder>/<number>_<kind>``.

    Lists stand in each category with two names a line; at the root with the category's number too.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.masks != "png":
            raise ValueError(
                "Dress Code ships no mask pictures, so masks coco has nothing to replace; use png"
            )
        self.settings = settings
        self.counts = settings.split_by(CATEGORIES)

    def open(self, dataset: str) -> SyntheticTryOn:
        category, split = dataset.split("/")
        return SyntheticTryOn(
            split=split,
            size=self.settings.size,
            length=self.counts[category, split],
            seed=self.settings.seed,
            categories=(category,),
            maps=("parse", "keypoints", "iuv"),
        )

    def jobs(self) -> list[Job]:
        jobs: list[Job] = []
        for (category, split), count in self.counts.items():
            first = len(jobs)
            jobs += [Job(f"{category}/{split}", i, f"{first + i:06d}") for i in range(count)]
        return jobs

    def paths(self, job: Job) -> list[str]:
        return [f"{_category(job)}/{name.format(job.name)}" for name in _FILES]

    def files(self, job: Job, sample: Mapping) -> dict[str, bytes]:
        height, width = sample["person"].shape[:2]
        keypoints, iuv = sample["keypoints"], sample["iuv"]
        data = (
            jpeg(sample["person"]),
            jpeg(sample["garment"]),
            coco18_json(keypoints, *KEYPOINT_SIZE),
            palette_png(lip_to_atr(sample["parse"])),
            jpeg(draw_skeleton(keypoints, height, width)),
            png(np.ascontiguousarray(iuv[..., 0])),
            npz({"uv": np.moveaxis(iuv[..., 1:], -1, 0).astype(np.float32) / np.float32(255)}),
            jpeg(sample["pose"]),
        )
        return dict(zip(self.paths(job), data, strict=True))

    def lists(self) -> dict[str, bytes]:
        rows: dict[str, list[tuple[str, str]]] = {}
        every: dict[str, list[tuple[str, str, str]]] = {}
        for category, split in self.counts:
            jobs = [job for job in self.jobs() if job.dataset == f"{category}/{split}"]
            people = [f"{job.name}_0.jpg" for job in jobs]
            own = [f"{job.name}_1.jpg" for job in jobs]
            other = [*own[1:], own[0]]
            both = {"train_pairs": own}
            if split == "test":
                both = {"test_pairs_paired": own, "test_pairs_unpaired": other}
            for name, garments in both.items():
                pairs = list(zip(people, garments, strict=True))
                rows[f"{category}/{name}.txt"] = pairs
                number = str(CATEGORIES.index(category))
                every.setdefault(f"{name}.txt", []).extend((*pair, number) for pair in pairs)
        return {path: lines(found, "\t") for path, found in (rows | every).items()}

    def summaries(self, root: Path) -> dict[str, bytes]:
        return {}


def _category(job: Job) -> str:
    return job.dataset.partition("/")[0]
