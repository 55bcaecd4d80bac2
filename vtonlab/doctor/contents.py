"""What the pictures show: masks against parse and agnostic picture, label maps, DensePose, poses.

All people with ``--deep``; else up to a number, evenly spread, because every pixel is decoded.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from vtonlab.datasets.readers.reading import looks_inverted, mask_of, read_keypoints
from vtonlab.doctor.findings import Report
from vtonlab.doctor.kinds import Kind
from vtonlab.doctor.pictures import Probes
from vtonlab.doctor.survey import Member, Part, relative
from vtonlab.ops.agnostic import leak_share, worn_garment
from vtonlab.ops.labels import atr_to_lip
from vtonlab.utils.images import PictureError, read_image, read_mask

LEAK_TOLERANCE = 0.001  # of the worn garment; shipped VITON-HD masks leak 0 or visibly more
_LEAK_BINS = (0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_AREA = {"mask": (0.02, 0.80), "garment_mask": (0.01, 0.95), "worn_mask": (0.002, 0.90)}
_GREY_TOLERANCE = 12  # of 128: what counts as the hole of an agnostic picture, after JPEG
_LIP_LABELS = 19


@dataclass
class Contents:
    """What one person's maps showed: (code, map, text) of each finding, and the leak score."""

    findings: list[tuple[str, str, str]] = field(default_factory=list)
    leak: float | None = None
    decoded: int = 0


def choose(parts: Sequence[Part], limit: int | None) -> list[tuple[Part, Member]]:
    """People to look at: all, or ``limit`` of them evenly spread over all parts."""
    people = [(part, member) for part in parts for member in part.members.values()]
    if limit is None or len(people) <= limit:
        return people
    return [people[i * len(people) // limit] for i in range(limit)]


def examine(member: Member, kind: Kind, probes: Probes, max_pixels: int) -> Contents:
    """Look at one person's maps; never raises for what a file holds."""
    found = Contents()
    maps = _Maps(member, kind, probes, max_pixels, found)
    worn = maps.worn()
    mask = maps.mask("mask")
    if mask is not None:
        _check_mask(maps, mask, worn)
    _check_garment_mask(maps)
    _check_worn_mask(maps, worn)
    _check_pose(maps)
    _check_keypoints(maps)
    return found


class _Maps:
    """The maps of a member; what cannot be used is a finding once and None."""

    def __init__(
        self, member: Member, kind: Kind, probes: Probes, max_pixels: int, found: Contents
    ) -> None:
        self.member, self.kind, self.probes = member, kind, probes
        self.max_pixels, self.found = max_pixels, found

    def path(self, name: str) -> Path | None:
        """The file of a map, if there is one and its header was good."""
        path = self.member.files.get(name)
        bad = path in self.probes and self.probes[path].facts is None
        return None if bad else path

    def tell(self, code: str, name: str, text: str = "") -> None:
        self.found.findings.append((code, name, text))

    def read(self, name: str, mode: str) -> np.ndarray | None:
        path = self.path(name)
        if path is None:
            return None
        try:
            self.found.decoded += 1
            return read_image(path, mode, self.max_pixels)
        except PictureError as error:
            self.tell(error.kind, name, str(error).removeprefix(str(path)).strip())
        except (ValueError, OSError):
            pass  # a colour label map, which its header already told; a file that vanished
        return None

    def _mask_plane(self, name: str) -> tuple[np.ndarray | None, str]:
        path = self.path(name)
        if path is None:
            return None, ""
        try:
            self.found.decoded += 1
            return read_mask(path, self.max_pixels)
        except PictureError as error:
            self.tell(error.kind, name, str(error).removeprefix(str(path)).strip())
        except OSError:
            pass  # a file that vanished
        return None, ""

    def mask(self, name: str) -> np.ndarray | None:
        """(H, W) in {0, 1}; grey levels and pictures that are no masks are findings."""
        picture, meaning = self._mask_plane(name)
        if picture is None:
            return None
        if meaning:
            self.tell("mask-scale", name, meaning)
        try:
            mask = mask_of(picture, self.path(name))
        except ValueError as error:
            text = str(error).removeprefix(str(self.path(name))).strip()
            self.tell("mask-no-mask", name, text.split(":")[0])
            return None
        levels = np.count_nonzero(cv2.calcHist([picture], [0], None, [256], [0, 256]))
        if levels > 2:
            self.tell("mask-not-binary", name, f"{levels} grey levels")
        return mask

    def worn(self) -> np.ndarray | None:
        """(H, W) bool: the worn garment by the parse."""
        labels = self.read("parse", "labels")
        if labels is None:
            return None
        highest = int(labels.max(initial=0))
        try:
            labels = atr_to_lip(labels) if self.kind.labels == "atr" else labels
        except ValueError as error:
            return self.tell("parse-labels", "parse", str(error))
        if self.kind.labels == "lip" and highest > _LIP_LABELS:
            return self.tell("parse-labels", "parse", f"label {highest}")
        if not self.member.category:
            return None
        worn = worn_garment(labels, self.member.category).astype(bool)
        if not worn.any():
            return self.tell("parse-no-garment", "parse", f"no {self.member.category} label")
        return worn


def _check_mask(maps: _Maps, mask: np.ndarray, worn: np.ndarray | None) -> None:
    hidden = mask == 1
    agnostic, person = maps.read("agnostic", "rgb"), maps.read("person", "rgb")
    hole = None
    if agnostic is not None and agnostic.shape[:2] == mask.shape:
        hole = (np.abs(agnostic.astype(np.int16) - 128) <= _GREY_TOLERANCE).all(-1)
    worn = worn if worn is not None and worn.shape == mask.shape else None
    if _inverted(hidden, hole, worn):
        return maps.tell("mask-inverted", "mask", f"white on {hidden.mean():.0%} of the picture")
    low, high = _AREA["mask"]
    if not low <= hidden.mean() <= high:
        return maps.tell("mask-area", "mask", f"marks {hidden.mean():.1%} of the picture")
    if worn is not None:
        leak = leak_share(mask, worn)
        if leak > 0.5:
            text = f"{leak:.0%} of the worn garment lies outside"
            return maps.tell("mask-of-another", "mask", text)
        maps.found.leak = leak
        if leak > LEAK_TOLERANCE:
            maps.tell("mask-leak", "mask", f"{leak:.2%} of the worn garment is visible")
    if hole is None:
        return None
    if person is not None and person.shape == agnostic.shape:
        change = np.abs(agnostic[hidden].astype(np.int16) - person[hidden]).mean()
        if change < _GREY_TOLERANCE and hole[hidden].mean() < 0.5:
            return maps.tell("agnostic-visible", "agnostic", "the same as the photograph")
    if hole[hidden].mean() < 0.5:
        colour = ", ".join(f"{value:.0f}" for value in np.median(agnostic[hidden], 0))
        maps.tell("agnostic-hole", "agnostic", f"its hole is ({colour})")
    return None


def _inverted(hidden: np.ndarray, hole: np.ndarray | None, worn: np.ndarray | None) -> bool:
    """Whether black marks what is to be generated: by the agnostic picture, else by the parse."""
    if not hidden.any() or hidden.all():
        return False
    if hole is not None and hole.mean() > 0.02:
        return hole[~hidden].mean() > 0.5 > 2 * hole[hidden].mean()
    if worn is None:
        return looks_inverted(hidden)
    return (worn & ~hidden).sum() > 0.9 * worn.sum() and (~hidden).mean() < 0.9


def _check_garment_mask(maps: _Maps) -> None:
    mask = maps.mask("garment_mask")
    if mask is None:
        return
    if looks_inverted(mask):
        maps.tell("mask-inverted", "garment_mask", "white all around, black within")
    else:
        _check_area(maps, "garment_mask", mask)


def _check_worn_mask(maps: _Maps, worn: np.ndarray | None) -> None:
    mask = maps.mask("worn_mask")
    if mask is None:
        return
    if worn is not None and worn.shape == mask.shape:
        marked = mask == 1
        if _overlap(marked, worn) < 0.5:
            inverted = _overlap(~marked, worn) > 0.5
            code = "mask-inverted" if inverted else "mask-of-another"
            text = f"{_overlap(marked, worn):.0%} overlap with the parse's garment"
            return maps.tell(code, "worn_mask", text)
    _check_area(maps, "worn_mask", mask)


def _overlap(one: np.ndarray, two: np.ndarray) -> float:
    return float((one & two).sum() / max(1, (one | two).sum()))


def _check_area(maps: _Maps, name: str, mask: np.ndarray) -> None:
    low, high = _AREA[name]
    if not low <= mask.mean() <= high:
        maps.tell("mask-area", name, f"marks {mask.mean():.1%} of the picture")


def _check_pose(maps: _Maps) -> None:
    pose = maps.read("pose", "rgb")
    if pose is None:
        return
    drawn = (pose[::4, ::4].max(-1) > 24).mean()
    if drawn < 0.005:
        maps.tell("pose-empty", "pose")
    elif drawn > 0.95:
        maps.tell("pose-no-densepose", "pose", f"{drawn:.0%} of it is drawn")


def _check_keypoints(maps: _Maps) -> None:
    path, photo = maps.member.files.get("keypoints"), maps.path("person")
    if path is None or photo not in maps.probes:
        return
    try:
        keypoints = read_keypoints(path, maps.probes[photo].facts.size)
    except (ValueError, OSError) as error:
        text = str(error).removeprefix(str(path)).strip()
        return maps.tell("keypoints-unreadable", "keypoints", text)
    seen = keypoints[keypoints[:, 2] > 0, :2]
    if not len(seen):
        maps.tell("keypoints-nobody", "keypoints")
    elif seen.max() > 1.05:
        maps.tell("keypoints-outside", "keypoints", f"up to {seen.max():.1f} of the picture")


# the report -------------------------------------------------------------------------------------


def report_contents(
    root: Path, people: Sequence[tuple[Part, Member, Contents]], report: Report
) -> None:
    """Findings by folder, and the distribution of the leak score."""
    for _, member, found in people:
        for code, name, text in found.findings:
            path = relative(member.files[name], root)
            place = path.rpartition("/")[0]
            report.add(code, place, [f"{path}: {text}" if text else path])
    scores = {
        f"{part.name}/{m.id}": found.leak for part, m, found in people if found.leak is not None
    }
    if scores:
        report.leak = distribution(scores)


def distribution(scores: Mapping[str, float]) -> dict:
    """Leak scores in short: how many people by score, and who is worst."""
    values = np.array(sorted(scores.values()))
    counts = [int(((values > low) & (values <= high)).sum()) for low, high in _bins()]
    worst = sorted(scores.items(), key=lambda item: -item[1])[:10]
    return dict(
        people=len(values),
        zero=int((values == 0).sum()),
        median=float(np.median(values)),
        p90=float(np.quantile(values, 0.9)),
        largest=float(values[-1]),
        histogram=[
            dict(above=low, to=high, people=count)
            for (low, high), count in zip(_bins(), counts, strict=True)
        ],
        worst=[dict(person=name, score=round(score, 5)) for name, score in worst if score > 0],
    )


def _bins() -> Iterator[tuple[float, float]]:
    return zip(_LEAK_BINS, (*_LEAK_BINS[1:], 1.0), strict=True)
