"""The first pairs of a group, large, at the top of a page."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image

from vtonlab.evaluation.report.pictures import data_url, encoded
from vtonlab.evaluation.report.systems import Group
from vtonlab.utils.images import read_image

HEIGHT = 512  # of larger pictures, pixels


def large_pairs(group: Group, count: int) -> str:
    """Rows of person, garment, each system's picture and the truth; "" where there is no pair."""
    rows = group.systems[0].rows[:count]
    others = [system.results.by_pair() for system in group.systems]
    heads = ["person", "garment", *(s.name for s in group.systems), "true picture"]
    colours = ["", "", *(s.colour for s in group.systems), ""]
    lines = []
    for row in rows:
        pair = (row["id"], row["garment_id"])
        found = [known.get(pair, {}) for known in others]
        drawn = [f.get("scored_file") or f.get("generated_file") for f in found]
        files = [row.get("agnostic_file") or row.get("person_file"), row.get("garment_file")]
        lines.append(_row([*files, *drawn, row.get("target_file")], heads, colours))
    return f'<div class="large">{"".join(lines)}</div>' if lines else ""


def _row(files: Sequence[Path | None], heads: Sequence[str], colours: Sequence[str]) -> str:
    cells = []
    for path, head, colour in zip(files, heads, colours, strict=True):
        if path is None or not Path(path).is_file():
            continue
        address = data_url(encoded(Image.fromarray(read_image(path)), HEIGHT))
        dot = f'<i class="dot" style="--c:{colour}"></i>' if colour else ""
        cells.append(
            f'<figure><img src="{address}" alt="{escape(head)}">'
            f"<figcaption>{dot}{escape(head)}</figcaption></figure>"
        )
    return f'<div class="card row">{"".join(cells)}</div>'
