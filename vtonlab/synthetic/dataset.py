"""SyntheticTryOn: people, garments and the true correspondence between them, drawn on demand."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from vtonlab.ops.agnostic import agnostic_mask, agnostic_picture
from vtonlab.ops.body import local_rotations, rotation_vector
from vtonlab.registry import DATASETS
from vtonlab.structures import Correspondences, FlowField
from vtonlab.structures.sample import REFERENCES, key_of
from vtonlab.synthetic.cache import SampleCache
from vtonlab.synthetic.garments import ALL_KINDS, KINDS
from vtonlab.synthetic.outfit import BOLD, TEXTURES, FlatPicture, draw_flat
from vtonlab.synthetic.person_to_person import second_view
from vtonlab.synthetic.references import draw_second, outfit_mask, second_garment, worn_reference
from vtonlab.synthetic.render import FIRST_GARMENT, Worn, render
from vtonlab.synthetic.scene import draw_backdrop, draw_companions, draw_person
from vtonlab.synthetic.truth import (
    body_fragments,
    iuv_map,
    keypoints,
    pose_picture,
    worn_region,
)
from vtonlab.utils.seeding import seed_from

VERSION = 4  # of what is drawn: part of the cache key
SETTINGS = ("paired", "unpaired", "person_to_person")
SPLITS = ("train", "val", "test", "base", "bench")
SHUFFLES = ("samples", "points")
ALWAYS = ("person", "garment", "agnostic", "mask", "garment_mask", "pose")
OPTIONAL = ("worn_mask", "parse", "iuv", "keypoints", "flow", "correspondences")
OF_SECOND = ("garment_pose", "garment_iuv")  # drawn when asked for by name
OF_WEARER = ("worn",)  # likewise


@DATASETS.register_module()
class SyntheticTryOn(Dataset):
    """Rendered try-on samples with exact flow; sample i is a function of (seed, split, i) and the
    settings alone.

    Args:
        split: train, val, test, base (what the shipped bases learn from) or bench (what
            docs/benchmark.md is scored on); they share no texture, pose or body.
        size: (height, width) of all pictures.
        length: number of samples.
        seed: another seed, another data set.
        setting: ``paired`` (``person`` wears ``garment``), ``unpaired`` (another garment is worn;
            ``target``, ``flow`` and ``correspondences`` belong to the rendered true result),
            ``person_to_person`` (``garment`` is a second photograph of the same person and
            clothes).
        categories: any of upper_body, lower_body, dresses; all by default.
        garments: any of t_shirt, long_sleeve, sleeveless, trousers, skirt, dress; all by default.
        textures: kinds of cloth for ``garment``; by default all of everyday clothes. ``"bold"`` is
            those whose look is decided by the place on the garment (bands, patchwork, panels,
            zigzag, letters, figures), where one colour explains little; each has a name too.
        hardness: range of the pose dial in [0, 1].
        framing: how freely people stand in the picture, in [0, 1]: 0 as in VITON-HD, 1 shifted,
            tilted and up to twice as small.
        maps: which optional keys to give; by default all but ``garment_pose`` and ``garment_iuv``,
            which person_to_person has (``flow`` and ``correspondences`` are free), and ``worn``: a
            photograph of somebody else in the same garment.
        outfit: what is worn with the garment is given too: ``garment_2`` and all that belongs to
            it, and ``mask`` covers both; for upper and lower bodies.
        with_body: adds ``body``, what 3D-GCL reads (parameters, projected vertices, face
            visibility).
        shuffle_correspondences: controls of what correspondence teaches. True or ``"samples"``:
            every sample gets the correspondences of another one, which still holds what the average
            person has; ``"points"``: it keeps its person points, each with a garment point of
            another sample, drawn at random.
        cache_dir: folder of rendered samples shared by runs and workers; None renders anew each
            time.
        data_root: unused here; data sets take it so that configs can inject one.
        transforms: joint transforms or their configs, called in order; their random numbers
            (``sample["rng"]``) depend on (seed, position) alone.

    Raises:
        ValueError: an unknown name, an empty range, a size under 16 or a garment's pose where the
            garment is no photograph.
    """

    all_categories = tuple(KINDS)  # what ``categories=None`` gives

    def __init__(
        self,
        *,
        split: str = "train",
        size: tuple[int, int] = (64, 48),
        length: int = 1000,
        seed: int = 0,
        setting: str = "paired",
        categories: Sequence[str] | None = None,
        garments: Sequence[str] | None = None,
        textures: str | Sequence[str] | None = None,
        hardness: tuple[float, float] = (0.0, 1.0),
        framing: float = 0.0,
        maps: Sequence[str] | None = None,
        outfit: bool = False,
        with_body: bool = False,
        shuffle_correspondences: bool | str = False,
        cache_dir: str | Path | None = None,
        data_root: str | Path | None = None,
        transforms: Sequence[Callable[[dict], dict] | dict] | None = None,
    ) -> None:
        self.split, self.setting = (
            _one_of("split", split, SPLITS),
            _one_of("setting", setting, SETTINGS),
        )
        self.size = (int(size[0]), int(size[1]))
        if min(self.size) < 16:
            raise ValueError(f"size must be at least 16x16 pixels, not {size[0]}x{size[1]}")
        if not 1 <= length <= 10_000_000:
            raise ValueError(f"length must be from 1 to 10 000 000, not {length}")
        self.length, self.seed = int(length), int(seed)
        self.categories = _some_of("categories", categories, tuple(KINDS))
        self.garments = _some_of("garments", garments, ALL_KINDS)
        textures = tuple(TEXTURES) if textures is None else BOLD if textures == "bold" else textures
        self.textures = _some_of("textures", textures, (*TEXTURES, *BOLD))
        self.kinds = {
            c: [k for k in KINDS[c] if k in self.garments]
            for c in self.categories
            if set(KINDS[c]) & set(self.garments)
        }
        if not self.kinds:
            raise ValueError(
                f"none of the garments {self.garments} is of the categories {self.categories}"
            )
        low, high = hardness
        if not 0 <= low <= high <= 1:
            raise ValueError(f"hardness must be a range within [0, 1], not {hardness!r}")
        self.hardness = (float(low), float(high))
        if not 0 <= framing <= 1:
            raise ValueError(f"framing must be within [0, 1], not {framing!r}")
        self.framing = float(framing)
        known = (*OPTIONAL, *OF_SECOND, *OF_WEARER)
        self.maps = OPTIONAL if maps is None else _some_of("maps", maps, known)
        self.second_maps = [name for name in OF_SECOND if name in self.maps]
        if self.second_maps and setting != "person_to_person":
            raise ValueError(
                f"maps: {self.second_maps[0]!r} is of the photograph that shows the garment, which "
                f"setting='person_to_person' alone has, not {setting!r}"
            )
        self.outfit, self.worn = outfit, "worn" in self.maps
        if (outfit or self.worn) and setting == "person_to_person":
            what = "outfit" if outfit else "maps: 'worn'"
            raise ValueError(f"{what} needs setting='paired' or 'unpaired', not {setting!r}")
        if outfit and "dresses" in self.kinds:
            raise ValueError(
                "outfit: nothing is worn with a dress; set categories to upper_body, lower_body"
            )
        self.with_body = with_body
        if not isinstance(shuffle_correspondences, bool):
            _one_of("shuffle_correspondences", shuffle_correspondences, SHUFFLES)
        self.shuffle_correspondences = shuffle_correspondences
        self.data_root = data_root
        self.transforms = [_build_transform(t) for t in transforms or ()]
        self.cache = None if cache_dir is None else SampleCache(cache_dir, self.cache_key())

    def cache_key(self) -> dict:
        """Every setting that changes what is rendered."""
        more = dict(second_iuv=bool(self.second_maps), outfit=self.outfit, worn=self.worn)
        return {
            "version": VERSION, "split": self.split, "size": self.size, "seed": self.seed,
            "setting": self.setting, "kinds": self.kinds, "textures": list(self.textures),
            "hardness": self.hardness, "framing": self.framing, "with_body": self.with_body,
        } | {name: True for name, is_asked in more.items() if is_asked}  # fmt: skip

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int | tuple[int, int]) -> dict:
        index, position = (item, item) if isinstance(item, (int, np.integer)) else item
        index = int(index)
        if not -self.length <= index < self.length:
            raise IndexError(f"sample {index} of a data set of {self.length}")
        index %= self.length
        sample = self._finish(self._load(index), index, int(position))
        sample["rng"] = np.random.default_rng([self.seed, int(position)])
        for transform in self.transforms:
            sample = transform(sample)
        del sample["rng"]
        return sample

    def _load(self, index: int) -> dict:
        if self.cache is None:
            return self.draw(index)
        arrays = self.cache.get(index)
        if arrays is None:
            arrays = self.draw(index)
            self.cache.put(index, arrays)
        return arrays

    def rng(self, index: int, stream: str) -> np.random.Generator:
        """A named random stream of one sample."""
        return np.random.default_rng(
            seed_from("synthetic try-on", self.seed, self.split, index, stream)
        )

    def partner(self, index: int) -> int:
        """Whose correspondences sample ``index`` gets when they are shuffled: a fixed rotation,
        never itself.
        """
        if self.length < 2:
            raise ValueError("shuffle_correspondences needs at least two samples")
        shift = 1 + seed_from("shuffle", self.seed, self.split) % (self.length - 1)
        return (index + shift) % self.length

    # drawing --------------------------------------------------------------------------------

    def draw(self, index: int) -> dict[str, np.ndarray]:
        """Plain arrays of one sample, before it becomes a sample dict."""
        choice = self.rng(index, "choice")
        names = sorted(self.kinds)
        category = names[int(choice.integers(len(names)))]
        kind = self.kinds[category][int(choice.integers(len(self.kinds[category])))]
        texture = None
        if set(self.textures) != set(TEXTURES):
            texture = self.textures[int(choice.integers(len(self.textures)))]
        hardness = float(choice.uniform(*self.hardness))
        factor = supersampling(self.size)
        rng = self.rng(index, "garment")
        flat = draw_flat(rng, category, self.size, factor, self.split, kind, texture)
        outfit, second = self._dressed(index, "outfit", flat.worn, factor)
        person = draw_person(
            self.rng(index, "identity"),
            self.rng(index, "view"),
            hardness,
            "dresses" if self.outfit else category,
            self.size,
            self.framing,
        )
        backdrop = draw_backdrop(self.rng(index, "backdrop"), self.size, factor)
        picture = render(person, outfit, backdrop, self.size, factor)
        arrays = {
            "category": np.array(category),
            "garment": flat.rgb,
            "garment_mask": flat.mask,
            "flow": picture.flow,
            "visible": picture.visible,
        }
        shown, other_person = picture, None
        if self.setting == "unpaired":
            other_rng = self.rng(index, "worn garment")
            other_kind = self.kinds[category][int(other_rng.integers(len(self.kinds[category])))]
            worn = draw_flat(other_rng, category, self.size, factor, self.split, other_kind)
            stream = "worn outfit" if self.outfit else "outfit"
            others, _ = self._dressed(index, stream, worn.worn, factor)
            shown = render(person, others, backdrop, self.size, factor)
            arrays["target"] = picture.rgb
        elif self.setting == "person_to_person":
            stream = partial(self.rng, index)
            view, other_person = second_view(
                stream, self.size, self.framing, hardness, outfit, picture
            )
            arrays |= view
        if self.worn:
            stream = partial(self.rng, index)
            arrays |= worn_reference(
                stream, self.size, self.framing, hardness, flat.worn, picture, self.split
            )
        fragments, points = body_fragments(person, self.size)
        iuv = iuv_map(fragments)
        marks = keypoints(person, shown, self.size)
        if second is None:
            mask = agnostic_mask(shown.labels, marks, category)
        else:
            mask = outfit_mask(shown.labels, marks)
            arrays |= second_garment(second, outfit, picture, shown)
        arrays |= {
            "person": shown.rgb,
            "parse": shown.labels,
            "worn_mask": worn_region(shown, FIRST_GARMENT),
            "iuv": iuv,
            "keypoints": marks,
            "mask": mask,
        }
        if self.with_body:
            arrays |= _body_arrays("body_", person, fragments, points)
        if other_person is not None and (self.with_body or self.second_maps):
            body = body_fragments(other_person, self.size)
            if self.with_body:
                arrays |= _body_arrays("body_garment_", other_person, *body)
            if self.second_maps:
                arrays["garment_iuv"] = iuv_map(body[0])
        return arrays

    def _dressed(
        self, index: int, stream: str, first: Worn, factor: int
    ) -> tuple[list[Worn], FlatPicture | None]:
        """What somebody wears, the garment first, and the flat picture of the second where it is
        given.
        """
        rng, sizes = self.rng(index, stream), (self.size, factor, self.split)
        if not self.outfit:
            return [first, *draw_companions(rng, first.mesh.garment, *sizes)], None
        second = draw_second(rng, first, *sizes)
        return [first, second.worn], second

    def _finish(self, arrays: dict, index: int, position: int) -> dict:
        name = f"{self.split}_{index:06d}"
        arrays = dict(arrays)
        sample = {
            "id": name,
            "garment_id": name,
            "category": str(arrays["category"]),
            "index": index,
            "position": position,
            "person": arrays["person"],
            "garment": arrays["garment"],
            "agnostic": agnostic_picture(arrays["person"], arrays["mask"]),
            "mask": arrays["mask"],
            "garment_mask": arrays["garment_mask"],
            "pose": pose_picture(arrays["iuv"]),
        }
        for key in ("worn_mask", "parse", "iuv", "keypoints"):
            if key in self.maps:
                sample[key] = arrays[key]
        if "garment_iuv" in self.maps:
            sample["garment_iuv"] = arrays["garment_iuv"]
        if "garment_pose" in self.maps:
            sample["garment_pose"] = pose_picture(arrays["garment_iuv"])
        for key in ("target", "garment_2", "garment_mask_2", "worn"):
            if key in arrays:
                sample[key] = arrays[key]
        if self.outfit:
            sample["garment_id_2"] = f"{name}_2"
            if "worn_mask" in self.maps:
                sample["worn_mask_2"] = arrays["worn_mask_2"]
        for role in REFERENCES:
            if key_of("flow", role) not in arrays:
                continue
            flow = _flow(arrays, role)
            if "flow" in self.maps:
                sample[key_of("flow", role)] = flow
            if "correspondences" in self.maps:
                sample[key_of("correspondences", role)] = self._correspondences(flow, index, role)
        if self.with_body:
            prefix = "body_"
            sample["body"] = {
                k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)
            }
        return sample

    def _correspondences(self, flow: FlowField, index: int, role: str) -> Correspondences:
        own = flow.to_correspondences()
        if not self.shuffle_correspondences:
            return own
        other = _flow(self._load(self.partner(index)), role).to_correspondences()
        if self.shuffle_correspondences != "points" or not len(other):
            return other
        drawn = torch.from_numpy(self.rng(index, "shuffle").integers(len(other), size=len(own)))
        return Correspondences(own.person_points, other.garment_points[drawn], own.scores)


def _flow(arrays: dict[str, np.ndarray], role: str) -> FlowField:
    """From the true result into the picture of a role."""
    names = key_of("flow", role), key_of("visible", role)
    return FlowField(*(torch.from_numpy(arrays[name]) for name in names))


def supersampling(size: tuple[int, int]) -> int:
    """How much larger pictures are drawn before they are averaged down: less for larger ones."""
    return 3 if max(size) <= 640 else 2 if max(size) <= 1280 else 1


def _body_arrays(prefix: str, person, fragments, points) -> dict[str, np.ndarray]:
    return {
        f"{prefix}shape": person.shape,
        f"{prefix}pose": rotation_vector(local_rotations(person.rotations)).astype(np.float32),
        f"{prefix}vertices": points,
        f"{prefix}visibility": fragments.face,
    }


def _one_of(name: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    return value


def _some_of(name: str, values: Sequence[str] | None, allowed: Sequence[str]) -> tuple[str, ...]:
    if values is None:
        return tuple(allowed)
    values = (values,) if isinstance(values, str) else tuple(values)
    for value in values:
        _one_of(name, value, allowed)
    if not values and name != "maps":
        raise ValueError(f"{name} must name at least one of {', '.join(allowed)}")
    return values


def _build_transform(transform: Callable | dict) -> Callable:
    from vtonlab.registry import TRANSFORMS

    return TRANSFORMS.build(transform) if isinstance(transform, dict) else transform
