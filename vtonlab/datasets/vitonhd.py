"""VITON-HD in its official layout (METHODS.md 6.1)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from vtonlab.datasets.base import TryOnDataset, derangement
from vtonlab.datasets.layout import (
    Folder,
    Pair,
    Place,
    describe_folder,
    read_pairs,
    scan,
    sketch,
    some,
)
from vtonlab.datasets.reading import Canvas, mask_of, read_keypoints
from vtonlab.datasets.verify import spread, verify_pictures
from vtonlab.registry import DATASETS
from vtonlab.structures.match_store import open_store
from vtonlab.utils.images import MAX_PIXELS, read_image

# <data_root>/<split>/<folder>/<name>; aliases seen in the wild follow the official name.
LAYOUT = {
    "person": Place(("image",)),
    "garment": Place(("cloth",)),
    "garment_mask": Place(("cloth-mask", "cloth_mask")),
    "agnostic": Place(("agnostic-v3.2", "agnostic")),
    "mask": Place(("agnostic-mask", "agnostic_mask"), ("{id}_mask", "{id}")),
    "pose": Place(("image-densepose", "densepose")),
    "parse": Place(("image-parse-v3", "image-parse"), ("{id}.png",)),
    "worn_mask": Place(("gt_cloth_warped_mask", "gt_cloth_wraped_mask")),
    "keypoints": Place(("openpose_json", "openpose-json"), ("{id}_keypoints.json", "{id}.json")),
}
MAPS = tuple(name for name in LAYOUT if name not in ("person", "garment"))
SPLITS = ("train", "test")
WORN_LABELS = (5, 6, 7)  # upper clothes, dress, coat
HAIR_LABEL, HAIR_COLOUR = 2, (254, 0, 0)  # class 2 and its colour in the LIP palette
GREY = 128  # of the hole in the agnostic picture


@DATASETS.register_module()
class VITONHDDataset(TryOnDataset):
    """Pairs of VITON-HD: upper body, front view, 11 647 train and 2 032 test.

    Args:
        data_root: folder that holds ``train/``, ``test/`` and the pair lists.
        split: ``"train"`` or ``"test"``.
        size: ``(height, width)`` of every map, or None for the files' own. Another aspect ratio is
            padded (photographs white, maps 0), never stretched.
        setting: ``"paired"``: each person with its own garment, whatever the list's second column
            says; ``"unpaired"``: the list's garments.
        pairs: list file, absolute or below ``data_root``; ``<split>_pairs.txt`` by default.
        maps: which to read beside person and garment, of ``agnostic``, ``mask``, ``garment_mask``,
            ``worn_mask``, ``pose``, ``parse`` and ``keypoints``. Without its folder, ``worn_mask``
            comes from ``parse`` (labels 5, 6, 7) and ``agnostic`` from person and mask.
        missing: ``"error"`` refuses people whose files are not complete, by name; ``"skip"`` leaves
            them out and says so.
        paint_hair: paint the hair of ``parse`` over the pose picture, as CORAL does.
        matches: ``dict(matcher=dict(type=...), root=...)`` of a match store; adds
            ``correspondences``.
        shuffle_correspondences: control: each pair gets the matches of another.
        transforms, seed, keep_in_memory: see `TryOnDataset`.
        follow_links: allow symbolic links that lead out of ``data_root``.
        max_pixels: refuse larger pictures.

    Raises:
        FileNotFoundError, ValueError: one sentence each for no data, another layout, an empty or
            hostile list, people without files and missing matches. Damaged pictures are found by
            `verify`, or when read.
    """

    categories = ("upper_body",)

    def __init__(
        self,
        *,
        data_root: str | None = None,
        split: str = "train",
        size: Sequence[int] | None = (1024, 768),
        setting: str = "paired",
        pairs: str | None = None,
        maps: Sequence[str] = ("agnostic", "mask", "garment_mask", "pose"),
        missing: str = "error",
        paint_hair: bool = False,
        matches: Mapping | None = None,
        shuffle_correspondences: bool = False,
        transforms: Sequence | None = None,
        seed: int = 0,
        keep_in_memory: bool = False,
        follow_links: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        super().__init__(transforms=transforms, seed=seed, keep_in_memory=keep_in_memory)
        _check_choice("split", split, SPLITS)
        _check_choice("setting", setting, ("paired", "unpaired"))
        _check_choice("missing", missing, ("error", "skip"))
        for name in maps:
            _check_choice("maps", name, MAPS)
        if split == "train" and setting == "unpaired":
            raise ValueError(
                "setting='unpaired' with split='train' has no true picture to learn from: use "
                "setting='paired', or split='test'"
            )
        self.split, self.setting, self.size = split, setting, None if size is None else tuple(size)
        self.maps, self.paint_hair, self.max_pixels = tuple(maps), paint_hair, max_pixels
        self.data_root = _find_root(data_root, split, self._wanted())
        self.folders = self._scan(follow_links)
        self.pairs = self._complete(self._read_list(pairs), missing)
        self.store = self._open_matches(matches)
        self.partner = derangement(len(self.pairs), seed) if shuffle_correspondences else None
        if shuffle_correspondences and self.store is None:
            raise ValueError("shuffle_correspondences=True needs `matches`")

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def metainfo(self) -> dict:
        return dict(
            dataset="VITON-HD", split=self.split, size=self.size, categories=self.categories
        )

    # files ------------------------------------------------------------------------------------

    def _wanted(self) -> list[str]:
        """Maps to read from files; `_scan` replaces the two that can be derived."""
        wanted = {"person", "garment", *self.maps}
        if self.paint_hair and "pose" in wanted:
            wanted.add("parse")
        return [name for name in LAYOUT if name in wanted]

    def _scan(self, follow_links: bool) -> dict[str, Folder]:
        derived = {"worn_mask": "parse", "agnostic": "mask"}
        parent, folders, wanted = self.data_root / self.split, {}, self._wanted()
        for name in wanted:
            folder = scan(parent, LAYOUT[name], self.data_root, follow_links=follow_links)
            if folder is not None:
                folders[name] = folder
            elif name in derived:
                source = derived[name]
                print_log(f"{parent} has no {LAYOUT[name].folders[0]}/: {name} comes from {source}")
                if source not in wanted:
                    wanted.append(source)
            else:
                raise FileNotFoundError(
                    f"{parent} has no folder {' or '.join(LAYOUT[name].folders)} for {name!r}: add "
                    f"it, or take {name!r} out of the data set's maps; "
                    f"{describe_folder(parent)}; expected are {sketch(LAYOUT, wanted)}"
                )
        return folders

    def _read_list(self, pairs: str | None) -> list[Pair]:
        path = self.data_root / (pairs or f"{self.split}_pairs.txt")
        listed = read_pairs(path)
        if self.setting == "paired":
            return [Pair(name, name) for name in dict.fromkeys(pair.id for pair in listed)]
        if all(pair.id == pair.garment_id for pair in listed):
            print_log(
                f"setting='unpaired', but {path} pairs every person with its own garment",
                level=30,
            )
        return listed

    def _complete(self, pairs: list[Pair], missing: str) -> list[Pair]:
        """The pairs whose files all exist; see ``missing``."""
        lacking = {}
        for pair in pairs:
            gaps = [name for name, path in self._files(pair) if path is None]
            if gaps:
                folders = (f"no {name} in {self.folders[name].path.name}/" for name in gaps)
                lacking[pair] = ", ".join(folders)
        if not lacking:
            return pairs
        names = some([f"{_named(pair)} ({gaps})" for pair, gaps in lacking.items()])
        found = f"{len(lacking)} of {len(pairs)} pairs of {self.data_root / self.split} lack files"
        kept = [pair for pair in pairs if pair not in lacking]
        if missing == "error" or not kept:
            raise FileNotFoundError(
                f"{found}: {names}; add the files, take the names out of the list"
                + (", or set missing='skip' to go on without them" if kept else "")
            )
        print_log(f"{found} and are skipped: {names}", level=30)
        return kept

    def _files(self, pair: Pair) -> Iterator[tuple[str, Path | None]]:
        for name, folder in self.folders.items():
            owner = pair.garment_id if name in ("garment", "garment_mask") else pair.id
            yield name, folder.find(LAYOUT[name], owner)

    def files(self, index: int) -> dict[str, Path]:
        """The files that sample ``index`` is read from, by map."""
        return dict(self._files(self.pairs[index]))

    def verify(self, decode_at_most: int = 2000) -> str:
        """Open every picture before training starts; the sentence says what was found good.

        Up to ``decode_at_most`` pictures are decoded completely; of larger sets all headers and
        file ends are read, and a tenth of that number is decoded, evenly spread.

        Matches are read likewise, and compared with the photographs they were made from.

        Raises:
            ValueError: pictures that are damaged, of another aspect ratio than their photograph or
                no masks, and matches that are damaged or stale, by name.
        """
        report = verify_pictures(
            f"VITON-HD {self.split} at {self.data_root}",
            {_named(pair): dict(self._files(pair)) for pair in self.pairs},
            decode_at_most=decode_at_most,
            max_pixels=self.max_pixels,
        )
        for index in spread(len(self), decode_at_most) if self.store is not None else ():
            self._correspondences(index)
        return report

    # matches ----------------------------------------------------------------------------------

    def _open_matches(self, matches: Mapping | None):
        if matches is None:
            return None
        store = open_store(matches, self.data_root, self.split)
        store.check_pairs(self.pairs)
        return store

    def _correspondences(self, index: int):
        pair = self.pairs[index if self.partner is None else self.partner[index]]
        files = dict(self._files(pair))
        return self.store.read(*pair, files=(files["person"], files["garment"]))

    # samples ----------------------------------------------------------------------------------

    def load(self, index: int) -> dict:
        """Sample ``index`` before transforms; errors name the file and the pair."""
        pair = self.pairs[index]
        try:
            return self._load(index, pair)
        except (ValueError, OSError) as error:
            kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
            raise kind(f"{error} (pair {index} of {self.split}: {_named(pair)})") from error

    def _load(self, index: int, pair: Pair) -> dict:
        files = self.files(index)
        photos = {name: self._read(files[name], "rgb") for name in ("person", "garment")}
        person = Canvas(photos["person"].shape[:2], self.size)
        garment = Canvas(photos["garment"].shape[:2], self.size)
        sample = dict(
            id=pair.id,
            garment_id=pair.garment_id,
            category="upper_body",
            source_size=person.source,
            person=person.photo(photos["person"]),
            garment=garment.photo(photos["garment"]),
        )
        parse = self._read(files["parse"], "labels") if "parse" in files else None
        for name in self.maps:
            if name == "keypoints":
                sample[name] = person.keypoints(read_keypoints(files[name], person.source))
            elif name == "parse":
                sample[name] = person.labels(parse, files[name])
            elif name == "pose":
                sample[name] = person.picture(self._pose(files, parse), files[name])
            elif name == "worn_mask" and name not in files:
                worn = np.isin(parse, WORN_LABELS).astype(np.uint8)
                sample[name] = person.mask(worn, files["parse"])
            elif name in ("mask", "worn_mask", "garment_mask"):
                owner = garment if name == "garment_mask" else person
                sample[name] = owner.mask(self._mask(files[name]), files[name])
        if "agnostic" in self.maps:
            sample["agnostic"] = self._agnostic(sample, files, person)
        if self.store is not None:
            moved = self._correspondences(index)
            sample["correspondences"] = moved.affine(person.affine, garment.affine)
        return sample

    def _read(self, path: Path, mode: str) -> np.ndarray:
        return read_image(path, mode, self.max_pixels)

    def _mask(self, path: Path) -> np.ndarray:
        return mask_of(self._read(path, "rgb"), path)

    def _pose(self, files: Mapping[str, Path], parse: np.ndarray | None) -> np.ndarray:
        pose = self._read(files["pose"], "rgb")
        if self.paint_hair:
            if parse.shape != pose.shape[:2]:
                raise ValueError(
                    f"{files['parse']} is {parse.shape} but {files['pose']} {pose.shape[:2]}: "
                    "paint_hair needs one size"
                )
            pose[parse == HAIR_LABEL] = HAIR_COLOUR
        return pose

    def _agnostic(self, sample: dict, files: Mapping[str, Path], person: Canvas) -> np.ndarray:
        if "agnostic" in files:
            picture = self._read(files["agnostic"], "rgb")
            return person.photo(picture, files["agnostic"])
        mask = sample.get("mask")
        if mask is None:
            mask = person.mask(self._mask(files["mask"]), files["mask"])
        return np.where(mask[..., None] == 1, np.uint8(GREY), sample["person"])


def _named(pair: Pair) -> str:
    return pair.id if pair.id == pair.garment_id else f"{pair.id} with {pair.garment_id}"


def _check_choice(key: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"VITONHDDataset: {key} {value!r} is none of {', '.join(choices)}")


def _find_root(data_root: str | None, split: str, maps: Sequence[str]) -> Path:
    """The data root if it looks like VITON-HD; else one sentence with the way out."""
    expected = (
        f"expected is <data_root>/{{train,test}}/ with {sketch(LAYOUT, maps)} and "
        "<data_root>/{train,test}_pairs.txt; set --cfg-options data_root=..., or try "
        "configs/coral/dit_synthetic.py, which needs no data"
    )
    if data_root is None:
        raise FileNotFoundError(f"VITON-HD needs data_root, which is not set; {expected}")
    root = Path(data_root).expanduser()
    if (root / split / "image").is_dir():
        return root
    below = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    near = [p for p in (root.parent, *below) if (p / split / "image").is_dir()]
    hint = f"; did you mean data_root={near[0]}?" if near else ""
    raise FileNotFoundError(
        f"VITON-HD was looked for at data_root={data_root} and has no {split}/image/ there: "
        f"{describe_folder(root / split if (root / split).is_dir() else root)}; {expected}{hint}"
    )
