"""Tables of the docs from files that scripts write: CSV, the cards of the zoo, metafiles.

Example:
    python tools/docs/tables.py          # write the tables into docs/*.md again

A page holds ``<!-- table: tables/NAME.csv -->``, the table, and ``<!-- end -->``: what stands
between is made from the file, so that the page also reads well on GitHub. Exit codes: 0 done, 2 bad
input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import csv
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_TABLE = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.S)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing; 2 if one is stale")
    return parser.parse_args(argv)


def table(path: Path) -> str:
    """Markdown of a CSV file; columns of numbers stand to the right.

    Raises:
        FileNotFoundError: no such file.
    """
    with open(path, encoding="utf-8", newline="") as file:
        head, *rows = [[cell.replace("|", "\\|") for cell in row] for row in csv.reader(file)]
    return markdown(head, rows)


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table; a column of which every cell begins like a number stands to the right."""
    columns = list(zip(*rows, strict=True)) if rows else [[] for _ in head]
    right = [any(c) and all(re.match(r"[-+*~]*[\d.]", x) for x in c if x) for c in columns]
    lines = [head, [("--:" if side else "---") for side in right], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def filled(text: str, folder: Path) -> str:
    """A page's text with its tables made from their files."""
    return _TABLE.sub(lambda m: f"{m[1]}\n{table(folder / m[2])}\n{m[3]}", text)


def zoo() -> str:
    """The page of the weights that ship, from their cards."""
    from vtonlab.zoo import cards

    parts = [
        "# Model zoo\n\nWeights that come with the package, trained here on rendered people. "
        "Each is small, Apache-2.0, and its hash is checked when it is read. They show that "
        "everything works; what the methods can do needs real data and large networks, for which "
        "[released weights](parity.md) can be converted.\n"
    ]
    for kind, title in (("model", "Models"), ("base", "Bases"), ("codec", "Codecs")):
        found = cards(kind)
        if not found:
            continue
        parts.append(f"## {title}\n")
        for card in found:
            rows = [
                ["config", f"[`{card.config}`](../{card.config})"],
                ["size", f"{card.bytes / 1e6:.2f} MB"],
                ["trained on", card.data],
                ["command", f"`{card.command}`"],
                ["commit", f"`{card.commit}`"],
                ["licence", card.licence],
                ["SHA-256", f"`{card.sha256[:16]}...`"],
            ]
            parts.append(f"### {card.name}\n\n{card.title}.\n\n{markdown(['', ''], rows)}")
            if card.scores:
                heads = [card.split or "value", *card.others]
                columns = [card.scores, *card.others.values()]
                scores = [
                    [f"`{name}`", *(f"{c[name]:.4g}" if name in c else "" for c in columns)]
                    for name in card.scores
                ]
                parts.append(f"{card.scored_on}:\n\n{markdown(['score', *heads], scores)}")
    parts.append(
        "## In a program\n\n```python\nfrom vtonlab.apis import init_model, list_models\n\n"
        'print([card.name for card in list_models()])\nmodel = init_model("coral_synthetic")\n```\n'
    )
    return "\n".join(parts)


def results() -> str:
    """The page of models and of what was measured with them, from the metafiles."""
    import yaml

    rows, measured = [], []
    for path in sorted((ROOT / "configs").glob("*/metafile.yml")):
        meta = yaml.safe_load(path.read_text(encoding="utf-8"))
        for model in meta.get("Models") or []:
            facts = model["Metadata"]
            config = f"[`{model['Config'].removeprefix('configs/')}`](../{model['Config']})"
            cells = [facts.get(key, "") for key in ("Training Data", "Size", "Backbone")]
            rows.append([model["In Collection"], config, *map(str, cells)])
            for result in model.get("Results") or []:
                for name, value in result["Metrics"].items():
                    measured.append([config, result["Dataset"], f"`{name}`", f"{value:g}"])
    head = ["method", "config", "data", "size", "backbone"]
    return (
        "# Models and results\n\nEvery config of the model list, and what was measured here with "
        "it. No number is copied from a paper into these tables, and nobody has trained the models "
        "of real size yet; each method's README holds the paper's rows.\n\n"
        f"## Measured here\n\n{markdown(['config', 'on', 'score', 'value'], measured)}\n"
        f"## Models\n\n{markdown(head, rows)}"
    )


def pages() -> list[Path]:
    """Pages of docs/ that hold a table."""
    found = sorted((ROOT / "docs").rglob("*.md"))
    return [page for page in found if _TABLE.search(page.read_text(encoding="utf-8"))]


def main() -> int:
    args = parse_args()
    for page in pages():
        old = page.read_text(encoding="utf-8")
        new = filled(old, ROOT / "docs")
        if old != new and args.check:
            raise ValueError(f"{page} does not show its CSV files: run tools/docs/tables.py")
        page.write_text(new, encoding="utf-8")
        print(f"{page.relative_to(ROOT)}: {json.dumps(len(_TABLE.findall(new)))} tables")
    return 0


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
