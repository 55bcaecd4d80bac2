"""What the readers of downloaded data sets share: lists, folders, checks, matches, placement."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmengine.logging import print_log

from vtonlab.datasets.base import TryOnDataset, derangement
from vtonlab.datasets.readers.assembling import Recipe
from vtonlab.datasets.readers.layout import Folder, Layout, Place, describe_folder, owner, scan
from vtonlab.datasets.readers.lists import (
    Item,
    Pair,
    exclusion_request,
    held_out,
    named,
    read_exclusions,
    some,
)
from vtonlab.datasets.readers.reading import WHITE_IS_ONE, MaskFiles
from vtonlab.datasets.readers.verify import spread, verify_pictures
from vtonlab.datasets.transforms.joint import Pack, adds_words_alone
from vtonlab.ops.agnostic import CONVENTIONS
from vtonlab.structures.latent_store import LatentStore
from vtonlab.structures.match_store import open_store
from vtonlab.structures.pair_store import plain_settings
from vtonlab.structures.sample import reference_keys
from vtonlab.utils.images import MAX_PIXELS

SPLITS = ("train", "val", "test")
WARNING = 30  # logging's level


class FileTryOnDataset(TryOnDataset):
    """Pairs of photographs in a known layout. A subclass gives the layout and reads its lists.

    Args:
        data_root: folder of the data set.
        split: ``"train"``, ``"val"`` (the people of the train folders that ``holdout`` keeps back)
            or ``"test"``.
        size: ``(height, width)`` of every map, or None for the files' own. Another aspect ratio is
            padded (photographs white, maps 0), never stretched.
        setting: ``"paired"``: each person with its own garment, whatever the list's second column
            says; ``"unpaired"``: the list's garments.
        task: one of the class's ``tasks``, by default the first; see `PairMaps`.
        categories: of the garments; all that the data set has by default.
        pairs: list file, absolute or below ``data_root``; the data set's own by default.
        holdout: how many people of the train list are kept for ``split="val"``; which ones depends
            on their names and ``holdout_seed`` alone.
        exclude: file of names to leave out (or ``dict(file=..., kinds=["leaked"])``), such as the
            published leaks and duplicates of VITON-HD; see `read_exclusions`.
        maps: which to read beside person and garment. Some come from others where their folder is
            missing (``worn_mask`` from ``parse``, ``agnostic`` from person and mask, ...): the
            class's ``layout.derived`` says which, and the log.
        build_mask: settings of `agnostic_mask`, such as ``dict(box=True)``: ``mask`` and
            ``agnostic`` are then always built from ``parse`` and ``keypoints``, with
            ``densepose=True`` from DensePose too. ``convention`` is by default the class's.
        mask_files: ``dict(threshold=127, inverted=[...], strict=False)``: grey level (of 255, the
            file's own white) above which a mask file is 1, and masks (``mask``, ``garment_mask``,
            ``worn_mask``) whose files are the wrong way round: black where the picture is to be
            generated, or where the garment is; ``strict=True`` refuses masks that are empty, full
            or look inverted, which are warned of otherwise.
        missing: ``"error"`` refuses people whose files are not complete, by name; ``"skip"`` leaves
            them out and says so.
        paint_hair: paint the hair of ``parse`` over the pose picture, as CORAL does.
        matches: ``dict(matcher=dict(type=...), root=...)`` of a match store; adds
            ``correspondences``.
        shuffle_correspondences: control: each pair gets the matches of another.
        latents: folder of encoded pictures that `tools/cache_latents.py` made for this data set and
            model; adds ``latents``, which cannot be augmented: transforms may add words alone.
        transforms, seed, keep_in_memory, damaged: see `TryOnDataset`.
        follow_links: allow symbolic links that lead out of ``data_root``.
        max_pixels: refuse larger pictures.

    Raises:
        FileNotFoundError, ValueError: one sentence each for no data, another layout, an empty or
            hostile list, people without files and missing matches. Damaged pictures are found by
            `verify`, or when read.
    """

    layout: Layout
    tasks = ("try_on",)
    labels = "lip"
    convention = "full"  # of masks that are built, see `agnostic_mask`
    lists_val = False  # whether the list itself says who is of split="val"

    def __init__(
        self,
        *,
        data_root: str | None = None,
        split: str = "train",
        size: Sequence[int] | None = (1024, 768),
        setting: str = "paired",
        task: str | None = None,
        categories: Sequence[str] | None = None,
        pairs: str | None = None,
        holdout: int = 0,
        holdout_seed: int = 0,
        exclude: str | Mapping | None = None,
        maps: Sequence[str] = ("agnostic", "mask", "garment_mask", "pose"),
        build_mask: Mapping | None = None,
        mask_files: Mapping | None = None,
        missing: str = "error",
        paint_hair: bool = False,
        matches: Mapping | None = None,
        shuffle_correspondences: bool = False,
        latents: str | None = None,
        transforms: Sequence | None = None,
        seed: int = 0,
        keep_in_memory: bool = False,
        damaged: str = "error",
        follow_links: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        super().__init__(
            transforms=transforms, seed=seed, keep_in_memory=keep_in_memory, damaged=damaged
        )
        self.task = self.tasks[0] if task is None else task
        self.categories = self.layout.categories if categories is None else tuple(categories)
        for key, values, choices in (
            ("split", [split], SPLITS),
            ("setting", [setting], ("paired", "unpaired")),
            ("task", [self.task], self.tasks),
            ("categories", self.categories, self.layout.categories),
            ("missing", [missing], ("error", "skip")),
            ("maps", maps, self.layout.maps),
        ):
            for value in values:
                self._check_choice(key, value, choices)
        if split == "train" and setting == "unpaired":
            raise ValueError(
                "setting='unpaired' with split='train' has no true picture to learn from: use "
                "setting='paired', or split='test'"
            )
        self.split, self.setting, self.size = split, setting, None if size is None else tuple(size)
        self.folder_split = "test" if split == "test" else "train"
        self.maps, self.paint_hair, self.max_pixels = tuple(maps), paint_hair, max_pixels
        self.build_mask, self.aliases, self.derived = _mask_settings(build_mask), {}, {}
        self._told: set[Path] = set()  # folders that were warned of
        self.mask_files = MaskFiles.of(mask_files)
        self.data_root = self._find_root(data_root)
        self.trees = self._open_trees(follow_links)
        items = self._choose(self.read_items(pairs), holdout, holdout_seed, exclude)
        self.items = self._complete(items, missing)
        self.pairs = [item.pair for item in self.items]
        self.store = self._open_matches(matches)
        self.latents = self._open_latents(latents)
        self.partner = derangement(len(self.pairs), seed) if shuffle_correspondences else None
        if shuffle_correspondences and self.store is None:
            raise ValueError("shuffle_correspondences=True needs `matches`")

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def metainfo(self) -> dict:
        return dict(
            dataset=self.layout.title,
            split=self.split,
            setting=self.setting,
            size=self.size,
            categories=self.categories,
        )

    # what a subclass says -------------------------------------------------------------------------

    def read_items(self, pairs: str | None) -> list[Item]:
        """The pairs of the list, for ``self.setting``, before any are left out.

        Args:
            pairs: the ``pairs`` setting: a file, or None for the data set's own.
        """
        raise NotImplementedError

    def sources(self, name: str) -> tuple[str, ...] | None:
        """Maps that ``name`` is made from where it has no folder; None if it cannot be made."""
        if name == "mask" and self.build_mask is not None:
            parts = ("iuv",) if "iuv" in self.layout.places else ("pose",)
            return ("parse", "keypoints", *(parts if self.build_mask.get("densepose") else ()))
        return self.layout.derived.get(name)

    # folders --------------------------------------------------------------------------------------

    def _find_root(self, data_root: str | None) -> Path:
        """The data root if it has the layout; else one sentence with the way out."""
        layout = self.layout
        parent = layout.parents[0].format(split="{train,test}", category="<category>")
        lists = layout.lists[0].format(
            split="{train,test}", setting="{paired,unpaired}", category="<category>"
        )
        expected = (
            f"expected is <data_root>/{parent} with {layout.sketch(self._wanted())} and "
            f"<data_root>/{lists}; set --cfg-options data_root=..., or try "
            "configs/coral/dit_synthetic.py, which needs no data"
        )
        if data_root is None:
            raise FileNotFoundError(f"{layout.title} needs data_root, which is not set; {expected}")
        root = Path(data_root).expanduser()
        missing = [c for c in self.categories if not layout.parent(root, self.folder_split, c)]
        if not missing:
            return root
        if len(missing) < len(self.categories):
            kept = [c for c in self.categories if c not in missing]
            raise FileNotFoundError(
                f"{layout.title} at {root} has no {' and no '.join(missing)}: add the folder, or "
                f"set categories={kept}"
            )
        below = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
        near = [p for p in (root.parent, *below) if layout.fits(p)]
        hint = f"; did you mean data_root={near[0]}?" if near else ""
        place = layout.parents[0].format(split=self.folder_split, category=self.categories[0])
        folder = layout.places["person"].folders[0]
        at = root / place if (root / place).is_dir() else root
        raise FileNotFoundError(
            f"{layout.title} was looked for at data_root={data_root} and has no "
            f"{Path(place) / folder}/ there: {describe_folder(at)}; {expected}{hint}"
        )

    def _wanted(self) -> list[str]:
        """Maps to look for; `_open_tree` replaces those that are derived."""
        wanted = {"person", "garment", *self.maps}
        if self.paint_hair and "pose" in wanted:
            wanted.add("parse")
        order = dict.fromkeys([*self.layout.places, *self.layout.derived])
        return [name for name in order if name in wanted]

    def _open_trees(self, follow_links: bool) -> dict[str, dict[str, Folder]]:
        """category -> map -> folder."""
        opened: dict[Path, dict[str, Folder]] = {}
        trees = {}
        for category in self.categories:
            parent = self._parent(category)
            if parent not in opened:
                opened[parent] = self._open_tree(parent, follow_links)
            trees[category] = opened[parent]
        self._report_derived()
        return trees

    def _parent(self, category: str) -> Path | None:
        return self.layout.parent(self.data_root, self.folder_split, category)

    def _open_folder(self, name: str, parent: Path, follow_links: bool) -> Folder | None:
        """Where a map lies, or None."""
        place = self.layout.places[name]
        return scan(parent, place, self.data_root, follow_links=follow_links)

    def _open_tree(self, parent: Path, follow_links: bool) -> dict[str, Folder]:
        folders, wanted = {}, self._wanted()
        scanned: dict[Place | None, Folder | None] = {None: None}  # maps may share a folder
        for name in wanted:  # grows while it is read
            place, made_from = self.layout.places.get(name), self.sources(name)
            if not self._built(name) and place not in scanned:
                scanned[place] = self._open_folder(name, parent, follow_links)
            folder = None if self._built(name) else scanned[place]
            if folder is not None:
                folders[name] = folder
                wanted += [n for n in self.layout.companions.get(name, ()) if n not in wanted]
                self._report_alias(place, folder)
                self._report_rivals(name, folder)
            elif made_from is not None:
                self.derived[name] = made_from
                wanted += [source for source in made_from if source not in wanted]
            else:
                asked = next((n for n, made in self.derived.items() if name in made), name)
                what = repr(name) if asked == name else f"{name!r}, which {asked!r} is made from"
                raise FileNotFoundError(self._lacks(name, what, asked, parent, wanted))
        return folders

    def _lacks(self, name: str, what: str, asked: str, parent: Path, wanted: list[str]) -> str:
        """Where the files of a map would lie, and the way out."""
        return (
            f"{parent} has no folder {' or '.join(self.layout.places[name].folders)} for {what}: "
            f"add it, or take {asked!r} out of the data set's maps; {describe_folder(parent)}; "
            f"expected are {self.layout.sketch(wanted)}"
        )

    def _built(self, name: str) -> bool:
        return self.build_mask is not None and name in ("mask", "agnostic")

    def _report_alias(self, place, folder: Folder) -> None:
        found = next((n for n in place.folders if folder.path.as_posix().endswith(n)), None)
        if found not in (None, place.folders[0]) and place.folders[0] not in self.aliases:
            self.aliases[place.folders[0]] = found
            print_log(f"{folder.path} is read as {place.folders[0]}/")

    def _report_rivals(self, name: str, folder: Folder) -> None:
        """One name in two formats: say which file is read, as one of them may be stale."""
        if not (rivals := folder.rivals()) or folder.path in self._told:
            return
        self._told.add(folder.path)
        told = some([f"{kept} is read, {other} is not" for kept, other in rivals], "; ")
        print_log(f"{folder.path} holds pictures twice: {told}", level=WARNING)

    def _report_derived(self) -> None:
        """One line: which maps have no files of their own, and what they are made from."""
        if self.derived:
            told = (f"{n} from {' and '.join(m) or 'the task'}" for n, m in self.derived.items())
            why = "" if self.build_mask is None else " (build_mask is set)"
            title = f"{self.layout.title} {self.split} at {self.data_root}"
            print_log(f"{title}: made, not read: {', '.join(told)}{why}")

    # lists ----------------------------------------------------------------------------------------

    def list_path(self, pairs: str | None, category: str = "") -> Path:
        """The list file: ``pairs``, else the first of the layout's that exists, else its first."""
        if pairs is not None:
            return self.data_root / pairs
        values = dict(split=self.folder_split, setting=self.setting, category=category)
        paths = [self.data_root / name.format(**values) for name in self.layout.lists]
        return next((path for path in paths if path.is_file()), paths[0])

    def warn_if_paired(self, items: Sequence[Item], own, path: Path) -> None:
        """Say that an unpaired list gives everybody the worn garment; ``own(id)`` names it."""
        if items and all(item.pair.garment_id == own(item.pair.id) for item in items):
            print_log(
                f"setting='unpaired', but {path} pairs every person with its own garment",
                level=WARNING,
            )

    def warn_if_rotated(self, items: Sequence[Item], path: Path) -> None:
        """Say that a list which is read as worn pairs gives everybody another row's garment."""
        if rotated(items):
            print_log(
                f"setting='paired', but in {path} no garment has its person's name and nearly all "
                f"have another row's person's, such as {named(items[0].pair)}: is the second "
                "column shifted, or meant for setting='unpaired'?",
                level=WARNING,
            )

    def _choose(self, items: list[Item], holdout: int, seed: int, exclude) -> list[Item]:
        """Without what is excluded, and of the train list the part that the split gets."""
        items = [item for item in items if item.category in self.categories]
        if not items:
            raise ValueError(
                f"the list of {self.layout.title} at {self.data_root} has no pair of "
                f"{', '.join(self.categories)} in {self.split}"
            )
        if self.split == "val" and not (holdout or self.lists_val):
            raise ValueError("split='val' needs holdout=..., how many people of train it gets")
        if holdout and self.folder_split == "train":
            if self.lists_val:
                raise ValueError(
                    f"the list of {self.layout.title} at {self.data_root} says who is of split "
                    f"'val': take holdout={holdout} out"
                )
            kept = held_out(items, holdout, seed)
            items = [i for i in items if (i.pair.id in kept) == (self.split == "val")]
        if exclude is not None:
            file, kinds = exclusion_request(exclude)
            names = read_exclusions(self.data_root / file, self.folder_split, kinds)
            left = [item for item in items if not names & set(item.pair)]
            print_log(f"exclude={file}: {len(items) - len(left)} of {len(items)} pairs left out")
            if not left:
                raise ValueError(f"exclude={file} leaves no pair of {self.split}")
            items = left
        return items

    def _complete(self, items: list[Item], missing: str) -> list[Item]:
        """Those whose files all exist; see ``missing``."""
        lacking = {}
        for item in items:
            folders = self.trees[item.category]
            gaps = [name for name, path in self._files(item) if path is None]
            if gaps:
                lacking[item] = ", ".join(f"no {n} in {folders[n].path.name}/" for n in gaps)
        if not lacking:
            return items
        names = some([f"{named(item.pair)} ({gaps})" for item, gaps in lacking.items()])
        where = self._parent(items[0].category) if len(self.categories) == 1 else self.data_root
        found = f"{len(lacking)} of {len(items)} pairs of {where} lack files"
        kept = [item for item in items if item not in lacking]
        if missing == "error" or not kept:
            raise FileNotFoundError(
                f"{found}: {names}; add the files, take the names out of the list"
                + (", or set missing='skip' to go on without them" if kept else "")
            )
        print_log(f"{found} and are skipped: {names}", level=WARNING)
        return kept

    def _files(self, item: Item) -> Iterator[tuple[str, Path | None]]:
        for name, folder in self.trees[item.category].items():
            mine = item.pair.garment_id if owner(name) == "garment" else item.pair.id
            yield name, folder.find(self.layout.places[name], mine)

    def files(self, index: int) -> dict[str, Path]:
        """The files that sample ``index`` is read from, by map."""
        return dict(self._files(self.items[index]))

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
            f"{self.layout.title} {self.split} at {self.data_root}",
            {named(item.pair): dict(self._files(item)) for item in self.items},
            decode_at_most=decode_at_most,
            max_pixels=self.max_pixels,
            mask_files=self.mask_files,
            damaged=self.damaged,
        )
        for index in spread(len(self), decode_at_most) if self.store is not None else ():
            self._correspondences(index)
        return report

    # matches --------------------------------------------------------------------------------------

    def _open_matches(self, matches: Mapping | None):
        if matches is None:
            return None
        store = open_store(matches, self.data_root, self.split, self.map_settings)
        store.check_pairs(self.pairs)
        return store

    @property
    def map_settings(self) -> dict:
        usual = dict(
            task=self.tasks[0],
            labels=type(self).labels,
            build_mask=None,
            mask_files=WHITE_IS_ONE.meaning,
        )
        mine = {name: getattr(self, name) for name in usual} | dict(
            mask_files=self.mask_files.meaning
        )
        return {name: value for name, value in mine.items() if value != usual[name]}

    def match_files(self, index: int, role: str = "garment") -> dict[str, Path | None]:
        """What a sample's matches were made from, of what this data set reads too: map -> file, or
        None for a map that is made from others.

        Args:
            role: the garment that was matched.
        """
        files, keys, found = self.files(index), reference_keys(role), {}
        names = ["person", "garment", *self.store.manifest["maps"]]
        for name in names:  # grows while it is read
            key, more = keys.get(name, name), ()
            if key in files:
                found[name], more = files[key], self.layout.companions.get(name, ())
            elif key == name and name in self.derived:
                found[name], more = None, self.derived[name]
            names += [source for source in more if source not in names]
        return found

    def _correspondences(self, index: int):
        other = int(index if self.partner is None else self.partner[index])
        return self.store.read(*self.pairs[other], files=self.match_files(other))

    # latents --------------------------------------------------------------------------------------

    @property
    def pictures_from(self) -> dict:
        """The settings that decide what a pair's pictures are."""
        return plain_settings(
            dict(
                type=type(self).__name__,
                data_root=str(self.data_root.resolve()),
                split=self.folder_split,
                size=self.size,
                task=self.task,
                labels=self.labels,
                paint_hair=self.paint_hair,
                build_mask=self.build_mask,
                mask_files=self.mask_files.meaning,
            )
        )

    def _open_latents(self, latents: str | None) -> LatentStore | None:
        if latents is None:
            return None
        still = [isinstance(t, Pack) or adds_words_alone(t) for t in self.transforms]
        moving = [type(t).__name__ for t, ok in zip(self.transforms, still, strict=True) if not ok]
        if moving:
            raise ValueError(
                f"latents={latents!r} are of the pictures as they lie on disk, but {moving[0]} "
                "changes them: take the transforms out, or `latents`"
            )
        store = LatentStore.open(latents, self.pictures_from)
        store.check_pairs(self.pairs)
        return store

    # samples --------------------------------------------------------------------------------------

    def load(self, index: int) -> dict:
        """Sample ``index`` before transforms; errors name the file and the pair."""
        pair = self.pairs[index]
        try:
            return self._load(index, self.items[index])
        except (ValueError, OSError) as error:
            kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
            raise kind(f"{error} (pair {index} of {self.split}: {named(pair)})") from error

    def _load(self, index: int, item: Item) -> dict:
        matches = None if self.store is None else self._correspondences(index)
        sample = self.recipe.assemble(item, self.files(index), matches)
        if self.latents is not None:
            sample["latents"] = self.latents.read(*item.pair, files=self.files(index))
        return sample

    @property
    def recipe(self) -> Recipe:
        """How samples are made from files."""
        return Recipe(
            size=self.size,
            maps=self.maps,
            task=self.task,
            labels=self.labels,
            build_mask=dict(convention=self.convention) | dict(self.build_mask or {}),
            paint_hair=self.paint_hair,
            mask_files=self.mask_files,
            max_pixels=self.max_pixels,
        )

    def _check_choice(self, key: str, value: str, choices: Sequence[str]) -> None:
        if value not in choices:
            raise ValueError(
                f"{type(self).__name__}: {key} {value!r} is none of {', '.join(choices)}"
            )


def rotated(items: Sequence[Item]) -> bool:
    """Whether garments have the names of other rows' people and never of their own.

    Names are compared by what is before their last ``_`` or ``-`` too: ``anna_person`` and
    ``anna_shirt`` belong together.
    """

    def keys(name: str) -> set[str]:
        base = name.rpartition("/")[2].lower()
        return {base, re.split(r"[_-](?=[^_-]*$)", base)[0]}

    people = {key for item in items for key in keys(item.pair.id)}
    other = own = 0
    for item in items:
        mine, theirs = keys(item.pair.id), keys(item.pair.garment_id)
        own += bool(mine & theirs)
        other += bool(theirs & people) and not mine & theirs
    distinct = len({min(keys(item.pair.id)) for item in items}) > 1
    return distinct and own == 0 and other > 0.9 * len(items)


def own_garment(items: Sequence[Pair], own) -> list[Pair]:
    """Everybody once, with ``own(id)``."""
    return [Pair(name, own(name)) for name in dict.fromkeys(pair.id for pair in items)]


def _mask_settings(settings: Mapping | None) -> dict | None:
    unknown = set(settings or {}) - {"convention", "dilation", "box", "densepose"}
    if unknown:
        raise ValueError(
            f"build_mask: {sorted(unknown)[0]!r} is none of convention, dilation, box, densepose"
        )
    if settings is not None and settings.get("convention", "full") not in CONVENTIONS:
        raise ValueError(
            f"build_mask: convention {settings['convention']!r} is none of {', '.join(CONVENTIONS)}"
        )
    return None if settings is None else dict(settings)
