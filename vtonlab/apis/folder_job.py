"""Many pairs into a folder: each noted, so that a killed job goes on, then a contact sheet."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vtonlab.apis.inferencer import TryOnInferencer, TryOnResult
from vtonlab.datasets.readers.lists import read_records
from vtonlab.evaluation.results import pair_name
from vtonlab.structures.pair_store import hashes_of, sweep, write_atomic
from vtonlab.utils.bounded import read_json
from vtonlab.utils.images import read_image
from vtonlab.utils.locking import WorkDirLock
from vtonlab.utils.progress import Progress
from vtonlab.visualization.pages import save_png, tile, titled_grid

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".tif", ".tiff", ".bmp", ".gif")
SETTINGS = "try_on.json"
SHEET = "contact_sheet.png"
_DRAWING = ("seed", "num_steps", "guidance_scale", "repaint")  # settings of one picture
MOST = 60  # rows of a contact sheet


class Pair(NamedTuple):
    """Two photographs, and what the user knows about them."""

    person: Path
    garment: Path
    category: str | None = None
    mask: Path | None = None
    pose: Path | None = None

    @property
    def name(self) -> str:
        """Of files in the results folder."""
        return pair_name(self.person.stem, self.garment.stem)


def read_pairs(
    person: Sequence[str | Path] = (),
    garment: Sequence[str | Path] = (),
    *,
    table: str | Path | None = None,
    category: str | None = None,
    mask: str | Path | None = None,
    within: str | Path | None = None,
    most: int | None = None,
) -> list[Pair]:
    """Pairs from pictures and folders of pictures, or from a table.

    Args:
        person, garment: files or folders. One of a kind goes with every one of the other; equal
            numbers go side by side; else everybody tries on everything.
        table: CSV, JSON lines or text list with ``person``, ``garment`` and, if known,
            ``category``, ``mask`` and ``pose``; files are looked for beside the table.
        category: of all pairs that name none.
        mask: of the one person.
        within: a folder outside of which a table by a stranger may name nothing.
        most: how many pairs are taken.

    Raises:
        FileNotFoundError: no such file, or a folder without pictures.
        ValueError: no pairs, more than ``most``, two of one name, or a table that leads out of
            ``within``.
    """
    if table is not None:
        pairs = list(_from_table(Path(table), category, within))
        _check_count(len(pairs), most)
    else:
        people, garments = _pictures(person, "--person"), _pictures(garment, "--garment")
        if mask is not None and len(people) > 1:
            raise ValueError("a mask is one person's: give one --person, or a table with masks")
        alike = len(people) == len(garments)
        _check_count(len(people) * (1 if alike else len(garments)), most)
        chosen = zip(people, garments, strict=True) if alike else product(people, garments)
        mask = None if mask is None else Path(mask)
        pairs = [Pair(p, g, category, mask) for p, g in chosen]
    double = [name for name, count in Counter(pair.name for pair in pairs).items() if count > 1]
    if double:
        raise ValueError(f"two pairs are called {double[0]}: give their files different names")
    return pairs


def _check_count(count: int, most: int | None) -> None:
    if most is not None and count > most:
        raise ValueError(f"{count} pairs; {most} are taken at once")


def _from_table(table: Path, category: str | None, within: str | Path | None) -> Iterator[Pair]:
    for record in read_records(table):
        if not (record.get("person") and record.get("garment")):
            raise ValueError(f"{table}: a row has no person or no garment: {record}")
        files = [
            table.parent / record[key] if record.get(key) else None
            for key in ("person", "garment", "mask", "pose")
        ]
        for file in files:
            if file is not None and within is not None:
                _check_within(table, file, Path(within))
            if file is not None and not file.is_file():
                raise FileNotFoundError(f"{table} names {file}, which does not exist")
        named = record.get("category") or category
        yield Pair(files[0], files[1], named, *files[2:])


def _check_within(table: Path, file: Path, folder: Path) -> None:
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f"{table.name} names {file.name} outside its own folder: put the pictures beside it"
        )


def _pictures(places: Sequence[str | Path], option: str) -> list[Path]:
    found: list[Path] = []
    for place in map(Path, places):
        if place.is_dir():
            inside = sorted(p for p in place.iterdir() if p.suffix.lower() in PICTURES)
            inside = [p for p in inside if not p.name.startswith(".")]
            if not inside:
                raise FileNotFoundError(f"{option}: {place} holds no pictures")
            found += inside
        elif place.is_file():
            found.append(place)
        else:
            raise FileNotFoundError(f"{option}: there is no {place}")
    if not found:
        raise ValueError(f"{option} is missing: a picture, several, or a folder")
    return found


def try_on_folder(
    inferencer: TryOnInferencer,
    pairs: Sequence[Pair],
    out: str | Path,
    *,
    settings: dict,
    seed: int = 0,
    num_steps: int | None = None,
    guidance_scale: float | None = None,
    batch_size: int = 1,
    repaint: bool = True,
    attention: bool = False,
    on_pairs: Callable[[int, int], None] | None = None,
) -> list[dict]:
    """Draw every pair that ``out`` does not hold yet, or holds of other photographs.

    Writes ``pictures/<person>__<garment>.png``, ``masks/`` (the mask laid over the person),
    ``attention/`` (npz) if asked for, ``journal/`` with a JSON file a pair, and a contact sheet.

    Args:
        settings: what else decides a picture (model, checkpoint's hash); a folder that was drawn
            with others is refused.
        on_pairs: is told, before and after each batch, how many pairs are done, and of how many;
            what it raises ends the job, which goes on when it is called again.
        others: see `TryOnInferencer`.

    Returns:
        The journal: of each pair its names, ``warnings``, and ``refused`` (a sentence) or None.

    Raises:
        ValueError: the folder holds pictures drawn with other settings.
    """
    out = Path(out)
    settings = settings | dict(
        seed=seed, num_steps=num_steps, guidance_scale=guidance_scale, repaint=repaint
    )
    with WorkDirLock(out, "--out"):
        _claim(out, settings)
        return _draw_all(inferencer, pairs, out, settings, batch_size, attention, on_pairs)


def _draw_all(
    inferencer: TryOnInferencer,
    pairs: Sequence[Pair],
    out: Path,
    settings: dict,
    batch_size: int,
    attention: bool,
    on_pairs: Callable[[int, int], None] | None,
) -> list[dict]:
    """`try_on_folder` in a folder that is ours."""
    options = {key: settings[key] for key in _DRAWING}
    options |= dict(batch_size=batch_size, attention=attention)
    left = [pair for pair in pairs if not _holds(out, pair, attention)]
    progress, done = Progress("pairs"), len(pairs) - len(left)
    on_pairs = on_pairs or (lambda done, total: None)
    on_pairs(done, len(pairs))
    for first in range(0, len(left), batch_size):
        some, samples = [], []
        for pair in left[first : first + batch_size]:
            _note(out, pair).unlink(missing_ok=True)  # of other files
            try:
                sample = inferencer.sample(*pair[:2], pair.mask, pair.category, pose=pair.pose)
            except FileNotFoundError:
                raise  # weights that are missing, not this pair's fault
            except ValueError as error:
                _write_note(out, pair, _inputs(pair), (), str(error))
                continue
            some.append(pair)
            samples.append(sample)
        for pair, result in zip(some, inferencer.draw(samples, **options), strict=True):
            _save(out, pair, _inputs(pair), result)
        drawn = done + min(first + batch_size, len(left))
        progress(drawn, done, len(pairs))
        on_pairs(drawn, len(pairs))
    entries = [read_json(_note(out, pair)) for pair in pairs]
    _sheet(out, pairs, entries)
    return entries


def _claim(out: Path, settings: dict) -> None:
    path = out / SETTINGS
    held = read_json(path) if path.is_file() else settings
    differing = [key for key in settings if held.get(key) != settings[key]]
    if differing:
        raise ValueError(
            f"{out} holds pictures drawn with another {', '.join(differing)}: give another --out, "
            f"or remove the folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    sweep(out)
    write_atomic(path, (json.dumps(settings, indent=2) + "\n").encode())


def _note(out: Path, pair: Pair) -> Path:
    return out / "journal" / f"{pair.name}.json"


def _inputs(pair: Pair) -> dict[str, str | None]:
    """What a pair's picture is drawn from: the hashes of its files, and the category."""
    files = ("person", "garment", "mask", "pose")
    return hashes_of({name: getattr(pair, name) for name in files}) | dict(category=pair.category)


def _holds(out: Path, pair: Pair, attention: bool) -> bool:
    """Whether the folder has what is asked for of a pair, from these very files."""
    if not _note(out, pair).is_file():
        return False
    note = read_json(_note(out, pair))
    named = dict(person=str(pair.person), garment=str(pair.garment), category=pair.category)
    held = note.get("inputs")
    if held is None:  # of a version that did not look into the files
        return all(note.get(key) == value for key, value in named.items())
    if held != _inputs(pair):
        return False
    return bool(note["refused"]) or not attention or _attention(out, pair).is_file()


def _attention(out: Path, pair: Pair) -> Path:
    return out / "attention" / f"{pair.name}.npz"


def _write_note(
    out: Path, pair: Pair, inputs: dict, warnings: Sequence[str], refused: str | None
) -> None:
    path = _note(out, pair)
    path.parent.mkdir(parents=True, exist_ok=True)
    entry = dict(
        person=str(pair.person),
        garment=str(pair.garment),
        category=pair.category,
        inputs=inputs,
        picture=None if refused else f"pictures/{pair.name}.png",
        warnings=list(warnings),
        refused=refused,
    )
    write_atomic(path, (json.dumps(entry, ensure_ascii=False) + "\n").encode())


def mask_preview(result: TryOnResult) -> np.ndarray:
    """The person with the mask in red, (H, W, 3) uint8."""
    shown = result.inputs["person"].astype(np.float32)
    shown[result.mask > 0] = 0.5 * shown[result.mask > 0] + 0.5 * np.float32([235, 64, 72])
    return shown.round().astype(np.uint8)


def _save(out: Path, pair: Pair, inputs: dict, result: TryOnResult) -> None:
    save_png(out / "pictures" / f"{pair.name}.png", result.picture)
    save_png(out / "masks" / f"{pair.name}.png", mask_preview(result))
    if result.attention is not None:
        path = _attention(out, pair)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **result.attention)
    _write_note(out, pair, inputs, result.warnings, None)  # last: what is noted is whole


def _sheet(out: Path, pairs: Sequence[Pair], entries: Sequence[dict]) -> None:
    """Garment, mask and picture of the first pairs, one row each."""
    tiles = []
    for pair, entry in list(zip(pairs, entries, strict=True))[:MOST]:
        if entry["refused"] is None:
            files = (pair.garment, out / "masks" / f"{pair.name}.png", out / entry["picture"])
            shown = [read_image(file) for file in files]
            tiles += [tile(p, c, 256, 192) for p, c in zip(shown, _captions(pair), strict=True)]
    if tiles:
        save_png(out / SHEET, titled_grid(("garment", "mask", "picture"), tiles))


def _captions(pair: Pair) -> tuple[str, str, str]:
    return pair.garment.stem[:24], pair.person.stem[:24], ""
