"""Anybody's folder of pictures: which file is which pair's, and everything wrong with it at once.

Names that are understood, tried in this order: ``<person>__<garment>``, ``<person>_<garment>``,
``<person>-<garment>``, ``<person>`` (where every person of the list occurs once).
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vtonlab.datasets.readers.lists import PICTURE_SUFFIXES, Pair, composed, some
from vtonlab.evaluation.results import pair_name
from vtonlab.ops.resize import Size
from vtonlab.utils.images import check_image, inspect_image

SUFFIXES = PICTURE_SUFFIXES
PATTERNS = {
    "<person>__<garment>": lambda pair: pair_name(*pair),
    "<person>_<garment>": lambda pair: f"{pair.id}_{pair.garment_id}",
    "<person>-<garment>": lambda pair: f"{pair.id}-{pair.garment_id}",
    "<person>": lambda pair: pair.id,
}
_ASPECT = 0.01


def match_predictions(
    folder: str | Path,
    pairs: Sequence[Pair],
    sizes: Sequence[Size],
    *,
    exact: Size | bool = False,
) -> list[Path]:
    """The file of each pair, in the list's order, after every file was opened.

    Args:
        folder: pictures, below each other in folders or not.
        pairs: the list.
        sizes: (height, width) of each pair's photograph.
        exact: True: a picture must have its photograph's size; (height, width): that size; False:
            the photograph's aspect ratio.

    Raises:
        FileNotFoundError: no such folder, or no picture in it.
        ValueError: missing, extra, doubled, unreadable or wrong-size pictures; all kinds are
            counted and the first names of each given.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"--pred {folder} is no folder of pictures")
    files = sorted(
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in SUFFIXES and p.is_file() and not p.name.startswith(".")
    )
    if not files:
        raise FileNotFoundError(f"--pred {folder} holds no picture ({', '.join(SUFFIXES)})")
    stems = {path: composed(path.relative_to(folder).with_suffix("").as_posix()) for path in files}
    pattern, wanted = _choose(stems.values(), pairs)
    by_stem: dict[str, list[Path]] = {}
    for path, stem in stems.items():
        by_stem.setdefault(stem, []).append(path)
    problems = {
        "missing": [name for name in wanted if name not in by_stem],
        "extra": [stems[path] for path in files if stems[path] not in set(wanted)],
        "doubled": [f"{s} ({len(p)} files)" for s, p in by_stem.items() if len(p) > 1],
    }
    chosen = [by_stem[name][0] if name in by_stem else None for name in wanted]
    problems |= _open_all(chosen, sizes, exact)
    if any(problems.values()):
        counted = "; ".join(
            f"{len(names)} {kind}: {some(names)}" for kind, names in problems.items() if names
        )
        raise ValueError(
            f"--pred {folder} does not fit the list of {len(pairs)} pairs (names read as "
            f"{pattern}): {counted}; nothing was computed"
        )
    return chosen


def naming(files: Sequence[Path], pairs: Sequence[Pair]) -> str:
    """How the pictures of the pairs are named, one of `PATTERNS`."""
    return next(
        pattern
        for pattern, name_of in PATTERNS.items()
        if all(
            composed(path.with_suffix("").as_posix()).endswith(composed(name_of(pair)))
            for path, pair in zip(files, pairs, strict=True)
        )
    )


def encoding(files: Sequence[Path]) -> str:
    """How the pictures are stored: ``PNG``, or ``JPEG of quality 60``; of each kind how many."""
    kinds: dict[str, list[int]] = {}
    for path in files:
        facts = inspect_image(path, deep=False)
        kinds.setdefault(facts.format, []).append(facts.quality)
    told = []
    for kind, qualities in sorted(kinds.items()):
        known = [q for q in qualities if q]
        span = f"{min(known)}" if known and min(known) == max(known) else ""
        span = span or (f"{min(known)} to {max(known)}" if known else "")
        count = f"{len(qualities)} " if len(kinds) > 1 else ""
        told.append(f"{count}{kind}" + (f" of quality {span}" if span else ""))
    return ", ".join(told)


def _choose(stems, pairs: Sequence[Pair]) -> tuple[str, list[str]]:
    """The pattern under which most pairs have a file, and every pair's stem under it."""
    present = set(stems)
    best: tuple[int, str, list[str]] | None = None
    for pattern, name_of in PATTERNS.items():
        wanted = [composed(name_of(pair)) for pair in pairs]
        if max(Counter(wanted).values()) > 1:
            continue  # two pairs of one person cannot share a file
        found = len(present & set(wanted))
        if best is None or found > best[0]:
            best = (found, pattern, wanted)
    if best is None:
        ((pair, _),) = Counter(pairs).most_common(1)
        raise ValueError(f"the list names {' with '.join(map(str, pair[:2]))} more than once")
    return best[1], best[2]


def _open_all(
    files: Sequence[Path | None], sizes: Sequence[Size], exact: Size | bool
) -> dict[str, list[str]]:
    unreadable, wrong, found = [], [], {}
    for path, size in zip(files, sizes, strict=True):
        if path is None:
            continue
        try:
            found[path] = check_image(path), size
        except (ValueError, OSError) as error:
            unreadable.append(str(error))
    common = Counter(size for size, _ in found.values()).most_common(1)
    for path, (size, photo) in found.items():
        wanted = photo if exact is True else exact or None
        if wanted is not None and size != tuple(wanted):
            wrong.append(f"{path.name} is {_x(size)}, wanted {_x(wanted)}")
        elif wanted is None and abs(size[1] / size[0] / (photo[1] / photo[0]) - 1) > _ASPECT:
            wrong.append(f"{path.name} is {_x(size)}, its photograph {_x(photo)}")
        elif wanted is None and len(set(sizes)) == 1 and size != common[0][0]:
            wrong.append(f"{path.name} is {_x(size)}, most are {_x(common[0][0])}")
    return {"unreadable": unreadable, "wrong size (height x width)": wrong}


def _x(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
