"""VITON-HD's layout (METHODS.md 6.1): upper body, every folder and list."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vtonlab.ops.skeleton import draw_skeleton
from vtonlab.synthetic.dataset import SyntheticTryOn
from vtonlab.synthetic.writer import Job, Settings
from vtonlab.synthetic.writer_files import (
    coco_instances,
    grey_mask,
    jpeg,
    json_bytes,
    lines,
    openpose_json,
    palette_png,
    png,
    rgb_mask_png,
    run_length,
)
from vtonlab.utils.bounded import read_json

# Folder, file name, key of the sample; with masks="coco" the files of _MASKS are JSON instead.
_PICTURES = (
    ("image", "{}.jpg", "person"),
    ("cloth", "{}.jpg", "garment"),
    ("agnostic-v3.2", "{}.jpg", "agnostic"),
    ("image-densepose", "{}.jpg", "pose"),
)
_MASKS = (
    ("cloth-mask", "{}.jpg", "garment_mask"),
    ("agnostic-mask", "{}_mask.png", "mask"),
    ("gt_cloth_warped_mask", "{}.jpg", "worn_mask"),
)
_OTHERS = (
    ("image-parse-v3", "{}.png"),
    ("image-parse-agnostic-v3.2", "{}.png"),
    ("openpose_img", "{}_rendered.png"),
    ("openpose_json", "{}_keypoints.json"),
)
_TRAIN_ONLY = "gt_cloth_warped_mask"


class VITONHDLayout:
    """``<root>/{train,test}/<folder>/<id>`` and ``{train,test}_pairs.txt``.

    The train list pairs each person with its own garment; the test list is the unpaired one, each
    person with the garment of the next.
    """

    def __init__(self, settings: Settings) -> None:
        settings.require(sets=1)
        self.settings = settings

    def open(self, dataset: str) -> SyntheticTryOn:
        return SyntheticTryOn(
            split=dataset,
            size=self.settings.size,
            length=self.settings.counts()[dataset],
            seed=self.settings.seed,
            categories=("upper_body",),
            maps=("worn_mask", "parse", "keypoints"),
        )

    def jobs(self) -> list[Job]:
        jobs = []
        for split, count in self.settings.counts().items():
            first = len(jobs)  # numbers of train and test do not meet
            jobs += [Job(split, i, f"{first + i:05d}_00") for i in range(count)]
        return jobs

    def paths(self, job: Job) -> list[str]:
        pictures = [(folder, name) for folder, name, _ in _PICTURES]
        masks = [(folder, self._mask_name(name)) for folder, name, _ in _masks(job)]
        return [_path(job, folder, name) for folder, name in (*pictures, *masks, *_OTHERS)]

    def files(self, job: Job, sample: Mapping) -> dict[str, bytes]:
        height, width = sample["person"].shape[:2]
        parse, keypoints = sample["parse"], sample["keypoints"]
        hidden = np.where(sample["mask"] == 1, np.uint8(0), parse)
        files = {_path(job, f, n): jpeg(sample[key]) for f, n, key in _PICTURES}
        for folder, name, key in _masks(job):
            path = _path(job, folder, self._mask_name(name))
            files[path] = self._mask_file(folder, sample[key])
        others = (
            palette_png(parse),
            palette_png(hidden),
            png(draw_skeleton(keypoints, height, width)),
            openpose_json(keypoints, height, width),
        )
        for (folder, name), data in zip(_OTHERS, others, strict=True):
            files[_path(job, folder, name)] = data
        return files

    def lists(self) -> dict[str, bytes]:
        found = {}
        for split in self.settings.counts():
            names = [f"{job.name}.jpg" for job in self.jobs() if job.dataset == split]
            others = names if split == "train" else [*names[1:], names[0]]
            found[f"{split}_pairs.txt"] = lines(list(zip(names, others, strict=True)))
        return found

    def summaries(self, root: Path) -> dict[str, bytes]:
        """With ``masks="coco"`` one COCO instances file for each split and kind of mask."""
        found = {}
        for split in self.settings.counts() if self.settings.masks == "coco" else ():
            jobs = [job for job in self.jobs() if job.dataset == split]
            for folder, name, _ in _masks(jobs[0]):
                found[f"{split}/{folder}.json"] = json_bytes(
                    self._instances(root, jobs, folder, name)
                )
        return found

    def _instances(self, root: Path, jobs: Sequence[Job], folder: str, name: str) -> dict:
        pictures = "cloth" if folder == "cloth-mask" else "image"
        read = [read_json(root / _path(job, folder, self._mask_name(name))) for job in jobs]
        named = [f"{pictures}/{job.name}.jpg" for job in jobs]
        return coco_instances(list(zip(named, read, strict=True)), folder)

    def _mask_name(self, name: str) -> str:
        return str(Path(name).with_suffix(".json")) if self.settings.masks == "coco" else name

    def _mask_file(self, folder: str, mask: np.ndarray) -> bytes:
        if self.settings.masks == "coco":
            return json_bytes(run_length(mask))
        return rgb_mask_png(mask) if folder == "agnostic-mask" else jpeg(grey_mask(mask))


def _masks(job: Job) -> list[tuple[str, str, str]]:
    return [entry for entry in _MASKS if job.dataset == "train" or entry[0] != _TRAIN_ONLY]


def _path(job: Job, folder: str, name: str) -> str:
    return f"{job.dataset}/{folder}/{name.format(job.name)}"
