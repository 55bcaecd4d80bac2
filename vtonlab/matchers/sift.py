"""SIFT-VTON's sparse matches between a person photograph and the flat garment (METHODS.md 2.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from vtonlab.matchers import sift_filters as filters
from vtonlab.matchers.base import Matcher, check_mask, check_picture
from vtonlab.matchers.regions import (
    GARMENT_PARTS,
    PERSON_PARTS,
    WHOLE,
    match_regions,
)
from vtonlab.matchers.report import MatchReport
from vtonlab.ops.labels import densepose_labels
from vtonlab.registry import MATCHERS
from vtonlab.structures import Correspondences

BLACK, WHITE = 0, 255
GREYS = {"rgb": cv2.COLOR_RGB2GRAY, "bgr": cv2.COLOR_BGR2GRAY}


def resized(image: np.ndarray | None, size: tuple[int, int], nearest: bool) -> np.ndarray | None:
    """``image`` at ``(height, width)``; labels and masks by nearest pixel."""
    if image is None or image.shape[:2] == tuple(size):
        return image
    shrinks = image.shape[0] * image.shape[1] > size[0] * size[1]
    smooth = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    how = cv2.INTER_NEAREST_EXACT if nearest else smooth
    return cv2.resize(np.ascontiguousarray(image), size[::-1], interpolation=how)


def only_region(image: np.ndarray, region: np.ndarray | None, fill: int) -> np.ndarray:
    """``image`` with everything outside ``region`` painted ``fill``."""
    if region is None:
        return image
    return np.where(region.astype(bool)[..., None], image, np.uint8(fill))


class Features:
    """SIFT keypoints of one picture as arrays: ``xy (N, 2)``, ``size (N,)``, ``angle (N,)``."""

    def __init__(
        self, detector, image: np.ndarray, within: np.ndarray | None = None, grey: str = "rgb"
    ) -> None:
        grey = cv2.cvtColor(image, GREYS[grey])
        keypoints, self.descriptors = detector.detectAndCompute(grey, None)
        table = [(*k.pt, k.size, k.angle) for k in keypoints]
        table = np.array(table, dtype=np.float64).reshape(-1, 4)
        self.image = image
        if within is not None and len(table):
            x, y = self._pixels(table[:, :2])
            inside = within[y, x].astype(bool)
            table, self.descriptors = table[inside], self.descriptors[inside]
        self.xy, self.size, self.angle = table[:, :2], table[:, 2], table[:, 3]

    def _pixels(self, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h, w = self.image.shape[:2]
        x, y = np.rint(xy).astype(int).T.reshape(2, -1)
        return x.clip(0, w - 1), y.clip(0, h - 1)

    def __len__(self) -> int:
        return len(self.xy)

    def hsv(self, index: np.ndarray) -> np.ndarray:
        """OpenCV HSV at the rounded positions of the chosen keypoints: ``(M, 3)`` uint8."""
        x, y = self._pixels(self.xy[index])
        rgb = self.image[y, x]
        if not len(rgb):
            return rgb
        return cv2.cvtColor(rgb[None], cv2.COLOR_RGB2HSV)[0]


@MATCHERS.register_module()
class SIFTMatcher(Matcher):
    """OpenCV's SIFT and brute-force matcher, then SIFT-VTON's filters, region by region.

    Plain garments give no matches, by design. Scores are ones: the method does not weight matches.

    Args:
        size: ``(height, width)`` the pictures are matched at; all pixel thresholds refer to it.
            None keeps each picture's own size.
        grey: how colours become the grey that SIFT looks at: ``"rgb"`` weighs red, green and blue
            as the eye does; ``"bgr"`` exchanges the weights of red and blue, as SIFT-VTON's authors
            did by handing RGB to OpenCV, so that strongly coloured prints give other matches.
        sift: arguments of ``cv2.SIFT_create``; OpenCV's defaults by default.
        ratio: Lowe ratio.
        max_angle: largest difference of keypoint orientations, degrees, exclusive; None skips it.
        max_scale_ratio: largest ratio of keypoint sizes; None skips it (SIFT-VTON v1, whose scale
            filter was inactive).
        colour: settings of :func:`sift_filters.colour_filter`; None skips it (the paper's text).
        duplicate_radius: two matches closer than this at both ends are one, pixels.
        min_ransac: from this many matches on, a homography is fitted; fewer take the two
            small-sample checks.
        ransac_threshold: largest reprojection error, pixels.
        ransac_confidence, ransac_iterations, seed: of the homography's RANSAC.
        max_line_angle: small samples, degrees from the mean angle of the other lines.
        neighbour_ratios: small samples, person over garment and garment over person distances.
        min_matches: fewer than this in one region give none.
        person_parts, garment_parts: DensePose parts and garment labels of each region.
    """

    maps = ("pose", "iuv", "garment_parse")

    def __init__(
        self,
        *,
        size: tuple[int, int] | None = (512, 384),
        grey: str = "rgb",
        sift: Mapping | None = None,
        ratio: float = 0.80,
        max_angle: float | None = 45.0,
        max_scale_ratio: float | None = 2.25,
        colour: Mapping | None = {},
        duplicate_radius: float = 2**0.5,
        min_ransac: int = 15,
        ransac_threshold: float = 12.0,
        ransac_confidence: float = 0.99,
        ransac_iterations: int = 1000,
        seed: int = 1235,
        max_line_angle: float = 15.0,
        neighbour_ratios: tuple[float, float] = (1.4, 1.8),
        min_matches: int = 2,
        person_parts: Mapping[str, Sequence[int]] = PERSON_PARTS,
        garment_parts: Mapping[str, Sequence[int]] = GARMENT_PARTS,
    ) -> None:
        if not 0 < ratio <= 1:
            raise ValueError(f"SIFTMatcher: ratio must be in (0, 1], not {ratio}")
        if set(person_parts) != set(garment_parts):
            raise ValueError(
                f"SIFTMatcher: person_parts names {sorted(person_parts)} but garment_parts "
                f"{sorted(garment_parts)}; both need the same regions"
            )
        if grey not in GREYS:
            raise ValueError(f"SIFTMatcher: grey={grey!r} is none of {', '.join(GREYS)}")
        self.grey = grey
        self.size = None if size is None else tuple(size)
        self.sift = dict(sift or {})
        self.ratio = ratio
        self.max_angle, self.max_scale_ratio = max_angle, max_scale_ratio
        self.colour = None if colour is None else dict(colour)
        self.duplicate_radius = duplicate_radius
        self.min_ransac, self.ransac_threshold = min_ransac, ransac_threshold
        self.ransac_confidence, self.ransac_iterations = ransac_confidence, ransac_iterations
        self.seed = seed
        self.max_line_angle, self.neighbour_ratios = max_line_angle, tuple(neighbour_ratios)
        self.min_matches = min_matches
        self.person_parts, self.garment_parts = dict(person_parts), dict(garment_parts)

    @property
    def versions(self) -> dict[str, str]:
        """Raise the first number when the same settings no longer give the same matches."""
        return {"SIFTMatcher": "1", "opencv": cv2.__version__}

    def explain(
        self,
        person: np.ndarray,
        garment: np.ndarray,
        person_mask: np.ndarray | None = None,
        garment_mask: np.ndarray | None = None,
        *,
        pose: np.ndarray | None = None,
        iuv: np.ndarray | None = None,
        garment_parse: np.ndarray | None = None,
    ) -> MatchReport:
        """Matches of one pair, and what each filter removed.

        Args:
            person, garment: ``(H, W, 3)`` uint8 RGB, of any two sizes.
            person_mask: ``(H, W)``, not 0 where the garment may be worn; None is everywhere.
            garment_mask: ``(Hg, Wg)``, not 0 on the garment; None is everywhere.
            pose: ``(H, W, 3)`` DensePose rendering in its usual colours.
            iuv: ``(H, W, 3)`` DensePose part, U, V; wins over ``pose``.
            garment_parse: ``(Hg, Wg)`` garment part labels (GP-VTON's). Without it, or without
                DensePose, the pair is matched as one region.
        """
        check_picture("SIFTMatcher", "person", person)
        check_picture("SIFTMatcher", "garment", garment)
        for name, value in dict(person_mask=person_mask, pose=pose, iuv=iuv).items():
            check_mask("SIFTMatcher", name, value, person)
        for name, value in dict(garment_mask=garment_mask, garment_parse=garment_parse).items():
            check_mask("SIFTMatcher", name, value, garment)
        person_size, garment_size = (self.size or x.shape[:2] for x in (person, garment))
        labels = None
        if garment_parse is not None:
            labels = iuv[..., 0] if iuv is not None else None
            if labels is None and pose is not None:
                labels = densepose_labels(pose)
        regions = match_regions(
            resized(person_mask, person_size, nearest=True),
            resized(garment_mask, garment_size, nearest=True),
            resized(labels, person_size, nearest=True),
            resized(garment_parse, garment_size, nearest=True),
            self.person_parts,
            self.garment_parts,
        )
        person = resized(person, person_size, nearest=False)
        garment = resized(garment, garment_size, nearest=False)
        return MatchReport.cat(
            [self._match(person, garment, p, g, paint=name != WHOLE) for name, p, g in regions]
        )

    def _match(
        self,
        person: np.ndarray,
        garment: np.ndarray,
        person_region: np.ndarray | None,
        garment_region: np.ndarray | None,
        paint: bool,
    ) -> MatchReport:
        """One region: candidates, then every filter in the published order.

        Args:
            paint: paint over what lies outside the regions, as published; else look at the whole
                pictures and keep the keypoints inside. The edge of a coarse mask is no feature of
                the garment: painted, it gave visibly false matches on real photographs.
        """
        detector = cv2.SIFT_create(**self.sift)
        if paint:
            person = only_region(person, person_region, BLACK)
            garment = only_region(garment, garment_region, WHITE)
            person_region = garment_region = None
        p = Features(detector, person, person_region, self.grey)
        g = Features(detector, garment, garment_region, self.grey)
        counts = {"person_keypoints": len(p), "garment_keypoints": len(g)}
        query, train, distances = _nearest_two(p.descriptors, g.descriptors)
        counts["candidates"] = len(query)
        removed = {}
        sizes = (person.shape[:2], garment.shape[:2])

        def keep(name: str, mask: np.ndarray) -> None:
            nonlocal query, train
            counts[name] = int((~mask).sum())
            removed[name] = Correspondences.from_pixels(
                p.xy[query[~mask]], g.xy[train[~mask]], *sizes
            )
            query, train = query[mask], train[mask]

        passed = filters.ratio_filter(distances, self.ratio)
        keep("ratio", passed)
        order = np.argsort(distances[passed, 0], kind="stable")
        query, train = query[order], train[order]
        if self.max_angle is not None:
            keep("angle", filters.angle_filter(p.angle[query], g.angle[train], self.max_angle))
        if self.max_scale_ratio is not None:
            keep("scale", filters.scale_filter(p.size[query], g.size[train], self.max_scale_ratio))
        if self.colour is not None:
            keep("colour", filters.colour_filter(p.hsv(query), g.hsv(train), **self.colour))
        keep(
            "duplicate",
            filters.duplicate_filter(p.xy[query], g.xy[train], self.duplicate_radius),
        )
        self._keep_consistent(keep, lambda: (p.xy[query], g.xy[train]), sizes[1][1])
        keep("too_few", np.full(len(query), len(query) >= self.min_matches))
        counts["matches"] = len(query)
        matches = Correspondences.from_pixels(p.xy[query], g.xy[train], *sizes)
        return MatchReport(matches, counts, removed)

    def _keep_consistent(self, keep, points, garment_width: int) -> None:
        """The geometric checks: a homography for many matches, two simple checks for few."""
        if len(points()[0]) >= self.min_ransac:
            inliers = filters.homography_filter(
                *points(),
                self.ransac_threshold,
                self.ransac_confidence,
                self.ransac_iterations,
                self.seed,
            )
            keep("homography", inliers)
            return
        person_ratio, garment_ratio = self.neighbour_ratios
        keep(
            "line_angle",
            filters.line_angle_filter(*points(), garment_width, self.max_line_angle),
        )
        keep("neighbour_person", filters.neighbour_filter(*points(), person_ratio))
        keep("neighbour_garment", filters.neighbour_filter(*points()[::-1], garment_ratio))


def _nearest_two(
    person: np.ndarray | None, garment: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Query and train index ``(N,)`` and the two smallest L2 distances ``(N, 2)`` of each keypoint.

    Lowe's test needs two garment descriptors; with fewer there are no candidates.
    """
    if person is None or garment is None or not len(person) or len(garment) < 2:
        return np.zeros(0, dtype=int), np.zeros(0, dtype=int), np.zeros((0, 2))
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(person, garment, k=2)
    table = np.array([(a.queryIdx, a.trainIdx, a.distance, b.distance) for a, b in pairs])
    return table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2:]
