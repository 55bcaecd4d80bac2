"""Words for each garment or pair, from a table or from text files beside the pictures."""

import csv
from pathlib import Path

from vtonlab.registry import TRANSFORMS

MOST_BYTES = 1 << 16  # of one caption


@TRANSFORMS.register_module()
class Captions:
    """Adds ``caption`` (str) to a sample.

    Args:
        source: a CSV file with the columns ``garment`` and ``caption``, and ``person`` where a
            caption is of a pair; or a folder of ``<garment id>.txt`` files.
        default: caption of garments without one; None refuses them.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a table without these columns; a garment without a caption.
    """

    words_alone = True  # so that it goes with cached latents

    def __init__(self, *, source: str, default: str | None = None) -> None:
        self.source, self.default = Path(source), default
        if not self.source.exists():
            raise FileNotFoundError(f"Captions: there is no {self.source}")
        self.table = None if self.source.is_dir() else _read(self.source)

    def __call__(self, sample: dict) -> dict:
        person, garment = sample["id"], sample["garment_id"]
        if self.table is None:
            caption = self._file(garment)
        else:
            caption = self.table.get((person, garment), self.table.get(("", garment)))
        caption = self.default if caption is None else caption
        if caption is None:
            raise ValueError(
                f"Captions: {self.source} has none for garment {garment!r}; add it, or set default"
            )
        return {**sample, "caption": caption}

    def _file(self, garment: str) -> str | None:
        path = self.source / f"{garment}.txt"
        if path.resolve().parent != self.source.resolve() or not path.is_file():
            return None
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"Captions: {path} has more than {MOST_BYTES} bytes")
        return " ".join(path.read_text(encoding="utf-8").split())


def _read(path: Path) -> dict[tuple[str, str], str]:
    """(person or "", garment) -> caption."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        missing = {"garment", "caption"} - set(rows.fieldnames or ())
        if missing:
            raise ValueError(f"Captions: {path} lacks the column {sorted(missing)[0]!r}")
        captions = {}
        for row in rows:
            if not row["garment"] or row["caption"] is None:
                raise ValueError(
                    f"Captions: {path}, line {rows.line_num}: no garment or no caption"
                )
            key = Path(row.get("person") or "").stem, Path(row["garment"]).stem
            captions[key] = row["caption"].strip()
        return captions
