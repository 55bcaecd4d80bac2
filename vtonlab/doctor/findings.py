"""What the doctor can find: one table of every kind of finding, and the report that collects them.

Levels: an *error* stops a reader or ruins training; a *warning* costs people, quality or honest
scores, but the set can be used; a *note* is dealt with by the readers and told so that it is known.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

ERROR, WARNING, NOTE = "error", "warning", "note"
LEVELS = (ERROR, WARNING, NOTE)
MAX_PATHS = 1000  # of one finding in the report; the count is always true

# code: (level, what it means, way out)
CATALOGUE: dict[str, tuple[str, str, str]] = {
    # the tree
    "nested-root": (
        ERROR,
        "the data lies in another folder than the one named",
        "name that folder as data_root",
    ),
    "archive": (
        ERROR,
        "an archive was not unpacked",
        "unpack it here",
    ),
    "split-missing": (
        WARNING,
        "a split of the data set is missing",
        "download it too, or use the other split only",
    ),
    "folder-missing": (
        WARNING,
        "a folder is missing",
        "add it; methods that do not need the map run without",
    ),
    "folder-required": (
        ERROR,
        "a folder that every reader needs is missing",
        "add it, or name the right data_root",
    ),
    "folder-alias": (
        NOTE,
        "a folder has another name than the official one; readers accept it",
        "nothing to do",
    ),
    "folder-twice": (
        WARNING,
        "two folders hold the same map under two names; readers take the first",
        "remove the one that is not meant",
    ),
    "folder-misspelt": (
        WARNING,
        "a folder's name is close to one that readers look for, but no reader finds it",
        "rename it",
    ),
    "folder-empty": (
        ERROR,
        "a folder is empty",
        "fill it, or remove it",
    ),
    "names-not-understood": (
        ERROR,
        "a folder holds files, but none has a name that readers look for",
        "rename the files",
    ),
    "link-outside": (
        ERROR,
        "a link leads out of the data root",
        "copy the files in, or set follow_links=True",
    ),
    "unreadable-folder": (
        ERROR,
        "the system does not let this user read a folder or file",
        "change its permissions",
    ),
    "junk-files": (
        NOTE,
        "files that are no data (system files, unfinished downloads, copies)",
        "remove them; readers pass them over",
    ),
    "orphan-files": (
        NOTE,
        "files whose person or garment is not there",
        "remove them, or add the missing picture; readers pass them over",
    ),
    # pair lists
    "list-missing": (
        ERROR,
        "a pair list is missing",
        "write one with --fix-lists OUT and set the reader's pairs=OUT/...",
    ),
    "list-unreadable": (
        ERROR,
        "a pair list cannot be read",
        "mend it, or write one with --fix-lists OUT",
    ),
    "list-hostile": (
        ERROR,
        "a pair list names files outside the data root",
        "take the line out; do not trust the rest of such a list unread",
    ),
    "list-entries-without-files": (
        WARNING,
        "a pair list names people or garments that have no picture",
        "write a clean list with --fix-lists OUT, or set missing='skip'",
    ),
    "list-of-other-split": (
        ERROR,
        "a pair list names the people of the other split",
        "exchange the lists, or write them with --fix-lists OUT",
    ),
    "list-repeated": (
        WARNING,
        "a pair list names the same pair more than once",
        "write a clean list with --fix-lists OUT",
    ),
    "list-rotated": (
        WARNING,
        "no garment of the table has its person's name, nearly all have another row's person's: "
        "people would learn to wear what they do not",
        "mend the second column, or use the table with setting='unpaired'",
    ),
    "list-mismatched": (
        NOTE,
        "the train list pairs people with garments they do not wear; paired training takes "
        "everybody's own garment whatever the list says",
        "nothing to do",
    ),
    "unpaired-list-paired": (
        WARNING,
        "a list for unpaired tests gives people the garment they wear, so that unpaired scores "
        "would be paired ones",
        "exchange the garments, or write a list with --fix-lists OUT",
    ),
    "paired-list-unpaired": (
        WARNING,
        "a list for paired tests gives people other garments than they wear",
        "use it with setting='unpaired', or write a list with --fix-lists OUT",
    ),
    "list-overlap": (
        WARNING,
        "the same people stand in the train and the test list",
        "take them out of the train list: scores on people seen in training are no test",
    ),
    "people-not-listed": (
        NOTE,
        "people have pictures but stand in no list; no reader will see them",
        "write a list with --fix-lists OUT if they are meant to be used",
    ),
    # files
    "missing-files": (
        WARNING,
        "people lack a file",
        "add the files, set missing='skip' to go on without these people, or write a clean list "
        "with --fix-lists OUT",
    ),
    "no-garments": (
        ERROR,
        "nobody's own garment has a picture",
        "add the garment pictures: paired training needs them",
    ),
    "empty": (ERROR, "files of 0 bytes", "copy them again from their source"),
    "truncated": (ERROR, "pictures that are cut short", "copy them again from their source"),
    "damaged": (ERROR, "pictures that cannot be decoded", "copy them again from their source"),
    "not-a-picture": (
        ERROR,
        "files that are no JPEG, PNG or WebP (often a web page saved in place of a picture)",
        "copy them again from their source",
    ),
    "oversized": (
        ERROR,
        "pictures with so many pixels that they were refused unread (a decompression bomb, or a "
        "scan nobody scaled down)",
        "scale them down, or raise max_pixels if they are meant",
    ),
    "wrong-extension": (
        NOTE,
        "pictures in another format than their name says; readers go by the content",
        "rename them",
    ),
    "wrong-aspect": (
        ERROR,
        "maps with another aspect ratio than their photograph",
        "make them again from the photograph (height and width may be exchanged)",
    ),
    "other-size": (
        WARNING,
        "maps of another size than their photograph; readers resize them and lose detail",
        "make them at the photograph's size",
    ),
    "mixed-sizes": (
        NOTE,
        "photographs of several sizes; readers bring all to one size, padded, not stretched",
        "nothing to do",
    ),
    "turned": (
        WARNING,
        "photographs stored on their side with a rotation flag, which other tools (and the maps "
        "they made) may not have obeyed",
        "store them upright, and make their maps from the upright pictures",
    ),
    "colourless": (
        WARNING,
        "photographs that are stored in grey",
        "put the colour pictures in their place",
    ),
    "transparent": (
        NOTE,
        "photographs with transparency; readers put them on white",
        "nothing to do",
    ),
    "colour-profile": (
        NOTE,
        "photographs in another colour space than sRGB, such as a phone's Display P3; readers make "
        "them sRGB, other tools may not",
        "nothing to do",
    ),
    "very-large": (
        NOTE,
        "photographs of more than 24 million pixels; readers take them at a half or a quarter of "
        "their size",
        "store them smaller: each is decoded whenever it is drawn",
    ),
    "two-formats": (
        WARNING,
        "pictures of one name in two formats; readers take one, which may be the stale one",
        "remove the one that is not meant",
    ),
    # masks
    "mask-scale": (
        NOTE,
        "masks whose white is not 255 (0 and 1, 16 bit, a brush on a transparent layer); readers "
        "go by the file's own largest value, or by its opacity",
        "nothing to do; 0 and 255 would be read alike by every tool",
    ),
    "mask-not-binary": (
        NOTE,
        "masks with more than two grey levels (JPEG); readers cut at 127",
        "nothing to do; PNG would be exact",
    ),
    "mask-no-mask": (
        ERROR,
        "files in a mask folder that are photographs or grey pictures (the agnostic picture?)",
        "put masks there: white where the picture is to be generated, black elsewhere",
    ),
    "mask-inverted": (
        ERROR,
        "masks that are white where they should be black",
        "invert them: white is the area to generate (or the garment)",
    ),
    "mask-area": (
        ERROR,
        "masks that mark next to nothing or next to everything",
        "make them again",
    ),
    "mask-leak": (
        WARNING,
        "worn garment stays visible outside the agnostic mask, so that a model can copy it",
        "make the masks again (build_mask=dict(...)), dilate them, or leave the people out",
    ),
    "mask-of-another": (
        WARNING,
        "masks that do not cover the garment they belong to",
        "look at them: they may belong to another picture",
    ),
    "agnostic-visible": (
        ERROR,
        "agnostic pictures that still show what the mask hides",
        "make them again from person and mask, or remove the folder: readers then derive them",
    ),
    "agnostic-hole": (
        WARNING,
        "agnostic pictures whose hole is not grey",
        "fill the mask with grey 128, or remove the folder: readers then derive them",
    ),
    # other maps
    "parse-colour": (
        ERROR,
        "label maps stored as colour pictures or JPEG, so that the label numbers are lost",
        "use the palette or grey PNG that holds label numbers",
    ),
    "parse-labels": (
        ERROR,
        "label maps with numbers that the data set does not have",
        "use the parse of the right labels (LIP: 0 to 19, ATR: 0 to 17)",
    ),
    "parse-no-garment": (
        WARNING,
        "label maps without the worn garment (the garment-agnostic parse may lie in their place)",
        "put the full parse there",
    ),
    "pose-empty": (
        WARNING,
        "DensePose pictures that show nobody",
        "run DensePose again on these photographs, or leave the people out",
    ),
    "pose-no-densepose": (
        WARNING,
        "files in the DensePose folder that look like photographs",
        "put the DensePose renderings there",
    ),
    "keypoints-unreadable": (ERROR, "keypoint files that cannot be read", "make them again"),
    "keypoints-nobody": (
        WARNING,
        "keypoint files in which nobody was found",
        "run OpenPose again on these photographs, or leave the people out",
    ),
    "keypoints-outside": (
        WARNING,
        "keypoints outside their photograph: made for a picture of another size",
        "run OpenPose on these photographs, or scale its points",
    ),
    # the same picture twice
    "duplicate": (
        WARNING,
        "the same picture under several names",
        "leave all but one out (the readers' exclude=FILE)",
    ),
    "train-test-leak": (
        WARNING,
        "the same picture in train and test: scores on it are no test",
        "leave it out of one of them (the readers' exclude=FILE)",
    ),
    "person-is-garment": (
        WARNING,
        "person and garment are one picture",
        "put the product picture into the garment's place",
    ),
    "known-list": (
        WARNING,
        "people of this set stand in the given list of duplicates and leaks",
        "leave them out with the readers' exclude=FILE",
    ),
}


@dataclass
class Finding:
    """One kind of defect at one place.

    Args:
        code: key of `CATALOGUE`.
        place: folder or file below the root, with ``/``.
        detail: what is special here, or "".
        paths: files below the root, each with its detail: ``"train/image/a.jpg: ..."``.
        count: how many there are, where `paths` holds only the first.
        of: out of how many, or 0.
    """

    code: str
    place: str
    detail: str = ""
    paths: list[str] = field(default_factory=list)
    count: int = 0
    of: int = 0

    @property
    def level(self) -> str:
        return CATALOGUE[self.code][0]

    @property
    def meaning(self) -> str:
        return CATALOGUE[self.code][1]

    @property
    def way_out(self) -> str:
        return CATALOGUE[self.code][2]

    def as_dict(self) -> dict:
        texts = dict(level=self.level, meaning=self.meaning, way_out=self.way_out)
        return {**asdict(self), **texts}


@dataclass
class Report:
    """What the doctor saw.

    Args:
        root: the data root.
        kind: name of the layout, or "" if it was not recognised.
        reader: the reader to use.
        folders: ``{part: {map: {folder, files, people}}}``: where each map lies and for how many
            of the part's people it is there.
        people: people of each part.
        leak: distribution of the leak score; see `masks.py`.
        looked: numbers of files read, decoded, seconds.
    """

    root: str
    kind: str = ""
    reader: str = ""
    people: dict[str, int] = field(default_factory=dict)
    folders: dict[str, dict[str, dict]] = field(default_factory=dict)
    leak: dict = field(default_factory=dict)
    looked: dict = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def add(
        self,
        code: str,
        place: str,
        paths: Iterable[str] = (),
        *,
        detail: str = "",
        of: int = 0,
    ) -> None:
        """Add a finding, or more paths to the one of the same code, place and detail."""
        paths = list(paths)
        same = (f for f in self.findings if (f.code, f.place, f.detail) == (code, place, detail))
        finding = next(same, None)
        if finding is None:
            finding = Finding(code, place, detail, of=of)
            self.findings.append(finding)
        finding.paths += paths[: max(0, MAX_PATHS - len(finding.paths))]
        finding.count += max(1, len(paths)) if not finding.count else len(paths)

    def sorted(self) -> list[Finding]:
        """Worst first, else as found."""
        return sorted(self.findings, key=lambda finding: LEVELS.index(finding.level))

    @property
    def exit_code(self) -> int:
        """0: nothing but notes; 1: usable with warnings; 2: errors."""
        levels = {finding.level for finding in self.findings}
        return 2 if ERROR in levels else int(WARNING in levels)

    def as_dict(self) -> dict:
        own = {k: v for k, v in vars(self).items() if k != "findings"}
        found = [finding.as_dict() for finding in self.sorted()]
        return {"format": 1, **own, "exit_code": self.exit_code, "findings": found}
