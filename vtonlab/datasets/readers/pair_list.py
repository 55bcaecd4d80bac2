"""Any folders, by a list: the user's own photographs, PPR10K pairs."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vtonlab.datasets.readers.files import SPLITS, FileTryOnDataset
from vtonlab.datasets.readers.layout import Folder, Layout, Place
from vtonlab.datasets.readers.lists import Item, Pair, category_of, read_records, stem
from vtonlab.datasets.readers.prepared import add_prepared, maps_to_make
from vtonlab.datasets.readers.reading import Canvas
from vtonlab.registry import DATASETS
from vtonlab.structures.correspondences import Correspondences
from vtonlab.structures.match_store import of_role, open_store
from vtonlab.structures.sample import GARMENT_MAPS, MORE_GARMENTS, key_of
from vtonlab.utils.images import MAX_PIXELS, read_image
from vtonlab.utils.paths import check_name, resolve_inside

COLUMNS = (
    *("agnostic", "mask", "garment_mask", "worn_mask", "pose", "parse", "keypoints", "iuv"),
    *("garment_parse", "garment_keypoints", "garment_iuv", "garment_pose"),
    *("before", "worn", *MORE_GARMENTS),
    *(key_of(name, role) for role in MORE_GARMENTS for name in ("garment_mask", "worn_mask")),
)
PAIR_LIST = Layout(
    title="pair list",
    parents=("",),
    places={name: Place((name,)) for name in ("person", "garment", *COLUMNS)},
    lists=("pairs.csv", "pairs.jsonl", "pairs.txt"),
    derived={
        "mask": ("parse", "keypoints"),
        "agnostic": ("mask",),
        "garment_mask": ("garment",),
        "worn_mask": ("parse",),
        "pose": ("iuv",),
        "garment_pose": ("garment_iuv",),
        **{key_of("garment_mask", role): (role,) for role in MORE_GARMENTS},
    },
)


@DATASETS.register_module()
class PairListDataset(FileTryOnDataset):
    """Pairs that a table names, wherever below ``data_root`` their files lie.

    The table is a CSV with a header, JSON lines, or a text list of persons, garments and
    categories. Its columns are ``person``, ``garment``, ``category`` (names or 0, 1, 2; left out:
    ``categories`` must be one), ``split`` (``train``, ``val`` or ``test``: rows of other splits are
    left out; where rows are ``val``, they are ``split="val"``, without ``holdout``) and any of the
    maps; each map is a file below ``data_root``::

        person,garment,category,mask
        people/anna.jpg,shop/red dress.jpg,dresses,masks/anna.png

    Which garment is worn cannot be known here: ``setting="paired"`` says that each row's is,
    ``"unpaired"`` that it is not. Further photographs may be columns too: ``garment_2`` to
    ``garment_4`` (worn with the garment), ``worn`` (somebody else in it) and ``before`` (the person
    in other clothes, which mask-free try-on starts from). For dressed reference people (PPR10K) set
    ``task="person_to_person"``, with a ``garment_mask`` or ``garment_parse`` column.

    Args:
        labels: of ``parse`` files: ``lip`` or ``atr``.
        prepare: config of an estimator such as ``dict(type="Preparation")``, with ``folder`` (below
            ``data_root``, ``prepared`` by default): maps that have no column are made from the
            photographs, once, and kept there.
        matched: further garments that have matches too, such as ``["garment_2"]``, in a store below
            that of ``matches``; adds ``correspondences_2``. `tools/extract_matches.py` makes all.
        garment_column: the column that is read as the garment, with its mask.
        others: see `FileTryOnDataset`.

    Raises:
        ValueError: ``matched`` names no further garment, or there are no ``matches``.
    """

    layout = PAIR_LIST
    tasks = ("try_on", "person_to_person", "pose_transfer")

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
        labels: str = "lip",
        prepare: Mapping | None = None,
        holdout: int = 0,
        holdout_seed: int = 0,
        exclude: str | Mapping | None = None,
        maps: Sequence[str] = ("agnostic", "mask", "garment_mask", "pose"),
        build_mask: Mapping | None = None,
        mask_files: Mapping | None = None,
        missing: str = "error",
        paint_hair: bool = False,
        matches: Mapping | None = None,
        matched: Sequence[str] = (),
        garment_column: str = "garment",
        shuffle_correspondences: bool = False,
        latents: str | None = None,
        transforms: Sequence | None = None,
        seed: int = 0,
        keep_in_memory: bool = False,
        damaged: str = "error",
        follow_links: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._check_choice("labels", labels, ("lip", "atr"))
        self._check_choice("garment_column", garment_column, ("garment", *MORE_GARMENTS))
        for role in matched:
            self._check_choice("matched", role, [each for each in MORE_GARMENTS if each in maps])
        if matched and matches is None:
            raise ValueError(f"matched={list(matched)} needs `matches`")
        self.matched, self._column = tuple(matched), garment_column
        self.labels, self._follow, self._list = labels, follow_links, pairs
        self._prepare, self._wanted_maps = prepare, (tuple(maps), build_mask, missing)
        super().__init__(
            data_root=data_root, split=split, size=size, setting=setting, task=task,
            categories=categories, pairs=pairs, holdout=holdout, holdout_seed=holdout_seed,
            exclude=exclude, maps=maps, build_mask=build_mask,
            mask_files=mask_files, missing=missing,
            paint_hair=paint_hair, matches=matches,
            shuffle_correspondences=shuffle_correspondences, latents=latents,
            transforms=transforms, seed=seed,
            keep_in_memory=keep_in_memory, damaged=damaged, follow_links=follow_links,
            max_pixels=max_pixels,
        )  # fmt: skip
        self._stores = {
            role: open_store(of_role(matches, role), self.data_root, self.split, self.map_settings)
            for role in self.matched
        }
        for role, store in self._stores.items():
            store.check_pairs([self._pair(item, role) for item in self.items])

    def sources(self, name: str) -> tuple[str, ...] | None:
        if self._column != "garment" and name == "worn_mask":
            return None  # the labels of the category are those of the first garment
        if self.task == "pose_transfer" and name == "mask":
            return ()
        if self.task != "try_on" and name == "garment_mask":
            return ("garment_parse",)
        return super().sources(name)

    def _find_root(self, data_root: str | None) -> Path:
        """The root; its table is read here, because it says which maps there are."""
        if data_root is None:
            raise FileNotFoundError(
                "PairListDataset needs data_root, the folder below which all files of the list "
                "lie; set --cfg-options data_root=..."
            )
        root = Path(data_root).expanduser()
        if not root.is_dir():
            raise FileNotFoundError(f"data_root={data_root} is no folder")
        self.data_root = root
        self.list_file = self.list_path(self._list)
        self.rows = self._rows(self.list_file)
        if self._prepare is not None:
            maps, build_mask, missing = self._wanted_maps
            wanted = maps_to_make(maps, build_mask, self.task)
            self.rows = add_prepared(root, self.rows, self._prepare, wanted, missing)
        return root

    def _rows(self, path: Path) -> dict[Item, dict[str, str]]:
        records = read_records(path)
        self._bases = {  # of all splits, so that no name depends on which one is read
            c: _by_base(stem(r[c]) for r in records if r.get(c))
            for c in ("person", "garment", *MORE_GARMENTS)
        }
        self.lists_val = any(record.get("split") == "val" for record in records)
        split = self.split if self.lists_val else self.folder_split
        rows = {}
        for record in records:
            number = record.pop("")
            self._check_columns(record, f"pair list {path}, line {number}")
            if (record.get("split") or self.folder_split) != split:
                continue
            try:
                for column in record:
                    if record[column] and column not in ("category", "split"):
                        check_name(record[column])
            except ValueError as error:
                raise ValueError(f"pair list {path}, line {number}: {error}") from None
            if not record.get(self._column):
                if self._wanted_maps[-1] == "skip":
                    continue
                raise ValueError(f"pair list {path}, line {number} has no {self._column}")
            pair = Pair(
                self._name("person", record["person"]),
                self._name(self._column, record[self._column]),
            )
            item = Item(pair, self._category(record, path, number))
            rows[item] = self._with_garment(record)
        if not rows:
            raise ValueError(f"pair list {path} has no row of split {split!r}")
        return rows

    def _check_columns(self, record: Mapping[str, str], where: str) -> None:
        """``ValueError`` if a line of the table is none; ``where`` names it."""
        unknown = set(record) - {"person", "garment", "category", "split", *COLUMNS}
        if unknown or not (record.get("person") and record.get("garment")):
            what = f"the unknown column {sorted(unknown)[0]!r}" if unknown else "no person or no"
            what += "" if unknown else " garment"
            raise ValueError(
                f"{where} has {what}; columns are person, garment, category, split, "
                f"{', '.join(COLUMNS)}"
            )
        if record.get("split") and record["split"] not in SPLITS:
            raise ValueError(
                f"{where} has the split {record['split']!r}, which is none of {', '.join(SPLITS)}: "
                "mend it, or take the line out"
            )

    def _with_garment(self, record: dict[str, str]) -> dict[str, str]:
        """A line of the table with ``garment_column`` as its garment, and nothing of the first."""
        if self._column == "garment":
            return record
        masks = {n: record.get(key_of(n, self._column), "") for n in ("garment_mask", "worn_mask")}
        kept = {name: value for name, value in record.items() if name not in GARMENT_MAPS}
        return {**kept, "garment": record[self._column], **masks}

    def _name(self, column: str, file: str) -> str:
        """What a photograph is called: its file's name, with folders where two have the same."""
        name = stem(file)
        base = name.rpartition("/")[2]
        return base if len(self._bases[column][base]) == 1 else name

    def _pair(self, item: Item, role: str) -> Pair:
        """The person and a further garment, under the name it has as a garment."""
        return Pair(item.pair.id, self._name(role, self.rows[item][role]))

    def _load(self, index: int, item: Item) -> dict:
        sample = super()._load(index, item)
        for role in MORE_GARMENTS:
            if role in self.maps:
                name = self._name(role, self.rows[item][role])
                sample[key_of("garment_id", role)] = name.replace("/", "__")
        for role in self.matched:
            sample[key_of("correspondences", role)] = self._matches_of(index, role)
        return sample

    def _matches_of(self, index: int, role: str) -> Correspondences:
        """From the person to a further garment, as both lie on their canvases."""
        other = int(index if self.partner is None else self.partner[index])
        files = self.files(other)
        photos = files["person"], files[role]
        pair = self._pair(self.items[other], role)
        found = self._stores[role].read(*pair, files=self.match_files(other, role))
        sizes = (read_image(photo, "rgb", self.max_pixels).shape[:2] for photo in photos)
        return found.affine(*(Canvas(size, self.size).affine for size in sizes))

    def _category(self, record: Mapping[str, str], path: Path, number: str) -> str:
        if record.get("category"):
            return category_of(record["category"], path)
        if len(self.categories) == 1:
            return self.categories[0]
        raise ValueError(
            f"pair list {path}, line {number} names no category: add the column, or set "
            'categories=["upper_body"] for all'
        )

    def read_items(self, pairs: str | None) -> list[Item]:
        items = list(self.rows)
        if self.setting == "unpaired":
            self.warn_if_paired(items, str, self.list_file)
        elif self.task == "try_on":
            self.warn_if_rotated(items, self.list_file)
        return items

    def _parent(self, category: str) -> Path:
        return self.data_root

    def _lacks(self, name: str, what: str, asked: str, parent: Path, wanted: list[str]) -> str:
        if self._column != "garment" and name in ("worn_mask", *GARMENT_MAPS):
            return (
                f"{self.list_file} has no column {key_of(name, self._column)!r}, which matches of "
                f"{self._column} ask for: add it, or take {asked!r} out of the maps of `matches`"
            )
        return (
            f"{self.list_file} has no column {name!r}"
            + (f", which {asked!r} is made from" if asked != name else "")
            + f": add it, take {asked!r} out of the data set's maps, or set "
            "prepare=dict(type='Preparation') to make the maps from the photographs"
        )

    def _open_folder(self, name: str, parent: Path, follow_links: bool) -> Folder | None:
        listed = any(row.get(name) for row in self.rows.values())
        return Folder(parent / f"column {name}", {}) if listed else None

    def _files(self, item: Item):
        row = self.rows[item]
        for name in self.trees[item.category]:
            path = None
            if row.get(name):
                path = self._existing(row[name])
            yield name, path

    def _existing(self, name: str) -> Path | None:
        """The file of that name in either spelling of its accents, or None."""
        for form in ("NFC", "NFD"):
            path = self.data_root / unicodedata.normalize(form, name)
            if path.is_file():
                if not self._follow:
                    resolve_inside(self.data_root, path.relative_to(self.data_root).as_posix())
                return path
        return None


def _by_base(names: Iterable[str]) -> dict[str, set[str]]:
    """Names by their last part."""
    found: dict[str, set[str]] = {}
    for name in names:
        found.setdefault(name.rpartition("/")[2], set()).add(name)
    return found
