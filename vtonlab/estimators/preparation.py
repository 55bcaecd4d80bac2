"""From two photographs to the maps of a sample: what is given is used, the rest is estimated."""

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vtonlab.estimators.base import CONTRACTS, MapFiles, Person, PreparationError
from vtonlab.estimators.map_files import fitted_labels
from vtonlab.estimators.mattes import alone
from vtonlab.estimators.pseudo_parse import pseudo_parse
from vtonlab.estimators.warnings import about_mask, about_people
from vtonlab.ops.agnostic import CONVENTIONS, agnostic_mask, agnostic_picture
from vtonlab.ops.labels import densepose_picture
from vtonlab.ops.resize import resize_picture
from vtonlab.registry import ESTIMATORS
from vtonlab.structures.pair_store import plain_settings
from vtonlab.structures.sample import CATEGORIES
from vtonlab.utils.images import read_image

MAPS = ("mask", "agnostic", "pose", "keypoints", "parse", "matte", "garment_mask")
WORK = 1024  # pixels of the longer side, above which estimators see a smaller picture


@dataclass(frozen=True)
class Prepared:
    """Photographs and their maps; a map that was neither wanted nor needed on the way is None.

    Args:
        person: (H, W, 3) uint8 RGB.
        garment: (Hg, Wg, 3) uint8 RGB, or None.
        category: of the garment: upper_body, lower_body or dresses.
        mask: (H, W) uint8 in {0, 1}, 1 = to be generated.
        agnostic: (H, W, 3) uint8, the person with the mask painted grey.
        pose: (H, W, 3) uint8, DensePose-like rendering.
        keypoints: (25, 3) float32 BODY_25: x, y in [0, 1], confidence.
        parse: (H, W) uint8 LIP labels; coarse ones where no parser is set.
        matte: (H, W) float32 in [0, 1], the person.
        garment_mask: (Hg, Wg) uint8 in {0, 1}.
        warnings: what is uncertain, one sentence each.
        made: map -> "given", or the name of what made it.
    """

    person: np.ndarray
    garment: np.ndarray | None
    category: str
    mask: np.ndarray | None = None
    agnostic: np.ndarray | None = None
    pose: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    parse: np.ndarray | None = None
    matte: np.ndarray | None = None
    garment_mask: np.ndarray | None = None
    warnings: tuple[str, ...] = ()
    made: dict[str, str] = field(default_factory=dict)

    def maps(self) -> dict[str, np.ndarray]:
        """The maps that a sample may hold, by its keys."""
        names = [name for name in MAPS if name != "matte"]
        return {n: getattr(self, n) for n in names if getattr(self, n) is not None}


@ESTIMATORS.register_module()
class Preparation:
    """Makes the maps of photographs.

    Args:
        keypoints, matte, densepose, garment_mask: configs of estimators, or estimators.
        parse: the same of a human parser; None makes a coarse parse from joints, matte and colours,
            which is enough for masks.
        parse, densepose: may be `MapFiles`, which read what another program has written.
        convention: of `agnostic_mask`.
        build_mask: further settings of `agnostic_mask`: ``dilation``, ``box``.
    """

    def __init__(
        self,
        *,
        keypoints: Mapping | object | None = None,
        matte: Mapping | object | None = None,
        parse: Mapping | object | None = None,
        densepose: Mapping | object | None = None,
        garment_mask: Mapping | object | None = None,
        convention: str = "full",
        build_mask: Mapping | None = None,
    ) -> None:
        if convention not in CONVENTIONS:
            raise ValueError(f"convention {convention!r} is none of {', '.join(CONVENTIONS)}")
        unknown = set(build_mask or {}) - {"dilation", "box"}
        if unknown:
            raise ValueError(f"build_mask: {sorted(unknown)[0]!r} is none of dilation, box")
        self.keypoints = _build(keypoints or dict(type="BlazePose"))
        self.matte = _build(matte or dict(type="SelfieMatte"))
        self.parse = None if parse is None else _build(parse)
        self.densepose = _build(densepose or dict(type="LandmarkDensePose"))
        self.garment_mask = _build(garment_mask or dict(type="PlainBackground"))
        self.convention, self.build_mask = convention, dict(build_mask or {})

    def __call__(
        self,
        person: np.ndarray,
        garment: np.ndarray | None = None,
        category: str = "upper_body",
        *,
        given: Mapping[str, np.ndarray] | None = None,
        maps: Sequence[str] | None = None,
        name: str | None = None,
    ) -> Prepared:
        """The maps of one person, and of one garment if it is there.

        Args:
            person: (H, W, 3) uint8 RGB, upright.
            garment: (Hg, Wg, 3) uint8 RGB.
            category: of the garment.
            given: maps that are there already, by name, at their photograph's size.
            maps: which are wanted, all by default; only what they need is run.
            name: of the person's file without its ending, by which `MapFiles` are found.

        Raises:
            PreparationError: nobody is seen, or there is nothing to draw.
            FileNotFoundError: networks are missing; names the command that fetches them.
            ValueError: unknown names, arrays of the wrong shape.
        """
        _check_picture("person", person)
        if garment is not None:
            _check_picture("garment", garment)
        if category not in CATEGORIES:
            raise ValueError(f"category {category!r} is none of {', '.join(CATEGORIES)}")
        given = {name: array for name, array in (given or {}).items() if array is not None}
        wanted = MAPS if maps is None else tuple(maps)
        unknown = [name for name in (*wanted, *given) if name not in MAPS]
        if unknown:
            raise ValueError(f"map {unknown[0]!r} is none of {', '.join(MAPS)}")
        if garment is None:
            wanted = tuple(name for name in wanted if name != "garment_mask")
        job = _Job(self, person, garment, category, given, name)
        for name in wanted:
            job[name]
        found = {name: job.found[name] for name in MAPS if name in job.found}
        return Prepared(
            person, garment, category, **found, warnings=tuple(job.warnings), made=job.made
        )

    def of_files(
        self,
        person: Path,
        garment: Path | None,
        category: str,
        targets: Mapping[str, Path],
        given: Mapping[str, np.ndarray] | None = None,
    ) -> Prepared:
        """Read two photographs and write the maps of ``targets`` to their places.

        Raises:
            ValueError, FileNotFoundError: as the call, and as `read_image`; names the photograph.
        """
        from vtonlab.estimators.files import write_maps

        photo = read_image(person)
        product = None if garment is None else read_image(garment)
        try:
            prepared = self(
                photo, product, category, given=given, maps=list(targets), name=person.stem
            )
        except PreparationError as error:
            raise PreparationError(f"{person}: {error}") from None
        write_maps(prepared, targets)
        return prepared

    def settings(self) -> dict:
        """What decides the maps, for comparing with those made before."""
        makers = ("keypoints", "matte", "parse", "densepose", "garment_mask")
        return {name: describe(getattr(self, name)) for name in makers} | {
            "convention": self.convention,
            "build_mask": self.build_mask,
        }


def describe(estimator) -> dict | None:
    """An estimator's class and settings: plain values, lists and mappings of them, and estimators
    that it asks.
    """
    if estimator is None:
        return None
    found = {"type": type(estimator).__name__}
    for name, value in vars(estimator).items():
        if isinstance(value, CONTRACTS):
            found[name] = describe(value)
        elif value is not None and not name.startswith("_"):
            with suppress(ValueError):  # a network that was loaded is no setting
                found[name] = plain_settings(value)
    return found


def prepare(
    person: np.ndarray,
    garment: np.ndarray | None = None,
    category: str = "upper_body",
    *,
    given: Mapping[str, np.ndarray] | None = None,
    maps: Sequence[str] | None = None,
    **settings,
) -> Prepared:
    """`Preparation` with ``settings``, called once; for many photographs build it once."""
    return Preparation(**settings)(person, garment, category, given=given, maps=maps)


class _Job:
    """The maps of one pair; each is made once, when it is first asked for."""

    def __init__(self, how: Preparation, person, garment, category, given, name) -> None:
        self.how, self.garment, self.category, self.name = how, garment, category, name
        self.size = person.shape[:2]
        self.photo = person
        scale = WORK / max(self.size)
        small = tuple(max(1, round(n * scale)) for n in self.size)
        self.seen = person if scale >= 1 else resize_picture(person, small, "bilinear")
        self.found: dict[str, np.ndarray] = {}
        self.made: dict[str, str] = {}
        self.warnings: list[str] = []
        self._person: Person | None = None
        self._others: list[Person] = []
        for name, array in given.items():
            self.found[name] = self._checked(name, np.asarray(array))
            self.made[name] = "given"

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.found:
            value, maker = getattr(self, f"_{name}")()
            self.found[name], self.made[name] = value, maker
        return self.found[name]

    # makers: the map, and the name of what made it ------------------------------------------------

    def _mask(self):
        parse, keypoints = self["parse"], self["keypoints"]
        mask = agnostic_mask(
            parse, keypoints, self.category, convention=self._convention(), **self.how.build_mask
        )
        self.warnings += about_mask(mask, parse, keypoints, self.category)
        return mask, f"agnostic_mask({self._convention()!r})"

    def _convention(self) -> str:
        only_upper = self.how.convention == "vitonhd" and self.category != "upper_body"
        return "full" if only_upper else self.how.convention

    def _agnostic(self):
        return agnostic_picture(self.photo, self["mask"]), "mask"

    def _keypoints(self):
        return self.person.keypoints, type(self.how.keypoints).__name__

    def _matte(self):
        matte = alone(self.how.matte(self.seen, self.person), self.person, self._others)
        return _resized(matte, self.size), type(self.how.matte).__name__

    def _parse(self):
        how = self.how.parse
        if isinstance(how, MapFiles):
            return self._of_file(how), type(how).__name__
        if how is not None:
            parse, maker = how(self.seen), type(how).__name__
        else:
            matte = _resized(self["matte"], self.seen.shape[:2])
            parse, maker = pseudo_parse(self.seen, self.person, matte), "pseudo_parse"
        return resize_picture(parse, self.size, "nearest"), maker

    def _pose(self):
        how = self.how.densepose
        if isinstance(how, MapFiles):
            return densepose_picture(self._of_file(how)), type(how).__name__
        matte = _resized(self["matte"], self.seen.shape[:2])
        parts = how(self.seen, dataclasses.replace(self.person, matte=matte))
        return densepose_picture(resize_picture(parts, self.size, "nearest")), type(how).__name__

    def _of_file(self, how: MapFiles) -> np.ndarray:
        path = how.find(self.name)
        return fitted_labels(how.read(path), self.size, path)

    def _garment_mask(self):
        mask = self.how.garment_mask(self.garment)
        if not 0.01 < mask.mean() < 0.99:
            self.warnings.append(
                f"the garment's mask covers {mask.mean():.0%} of its picture: a plain background "
                "of another colour than the garment makes a better one"
            )
        return mask, type(self.how.garment_mask).__name__

    # the person -----------------------------------------------------------------------------------

    @property
    def person(self) -> Person:
        """Whom the maps are of; keypoints that were given take the place of the found ones."""
        if self._person is None:
            people = self.how.keypoints(self.seen)
            if not people:
                raise PreparationError(
                    "nobody is seen in the person's picture: one person who faces the camera, from "
                    "the head to the hips at least, is needed; or give keypoints and parse"
                )
            self.warnings += about_people(people, self.size)
            self._person, self._others = people[0], people[1:]
            if "keypoints" in self.found:
                self._person = dataclasses.replace(people[0], keypoints=self.found["keypoints"])
        return self._person

    def _checked(self, name: str, array: np.ndarray) -> np.ndarray:
        photo = self.garment if name == "garment_mask" else self.photo
        if photo is None:
            raise ValueError("a garment_mask is given, but no garment")
        size = photo.shape[:2]
        shape = {"keypoints": (25, 3), "agnostic": (*size, 3), "pose": (*size, 3)}.get(name, size)
        if array.shape != shape:
            raise ValueError(f"given {name} must be {shape}, not {array.shape}")
        if name in ("mask", "garment_mask"):
            if not np.isin(np.unique(array), (0, 1)).all():
                raise ValueError(f"given {name} must hold 0 and 1 only, 1 = to be generated")
            if name == "mask" and not array.any():
                raise PreparationError("the given mask is empty: nothing would be generated")
        kind = np.float32 if name in ("keypoints", "matte") else np.uint8
        return np.ascontiguousarray(array, kind)


def _build(config):
    return ESTIMATORS.build(dict(config)) if isinstance(config, Mapping) else config


def _resized(matte: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    if matte.shape == tuple(size):
        return matte
    smaller = size[0] < matte.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(matte, size[::-1], interpolation=how)


def _check_picture(name: str, picture: np.ndarray) -> None:
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.ndim != 3:
        found = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else picture
        raise ValueError(f"{name} must be a (H, W, 3) uint8 RGB array, not {found}")
    if picture.shape[2] != 3 or min(picture.shape[:2]) < 32:
        raise ValueError(f"{name} must be (H, W, 3) of at least 32 pixels, not {picture.shape}")
