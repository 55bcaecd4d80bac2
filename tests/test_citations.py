"""Every citation of METHODS.md names something that docs/METHODS.md has."""

import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENTRY = r"(?:[A-DG]\d{1,2}|\d(?:\.\d{1,2})?)"
CITED = re.compile(rf"METHODS\.md`?\)? ({ENTRY}(?:(?:,| and| to|, and) {ENTRY})*)\b")
CODE = re.compile(r"\b[A-DG]\d{1,2}\b")  # in comments of configs, without the page's name
SECTION, DECISION = re.compile(r"^\*\*(\d\.\d)\b", re.M), re.compile(r"^\| ([A-DG]\d+) \|", re.M)


@cache
def listed() -> tuple[str, ...]:
    """Numbers of chapters, sections and decisions of the page."""
    text = (ROOT / "docs/METHODS.md").read_text(encoding="utf-8")
    chapters = re.findall(r"^## (\d) ", text, re.M)
    return (*chapters, *SECTION.findall(text), *DECISION.findall(text))


def texts() -> dict[str, str]:
    """Text files of the repository in one line each, without comment signs at line starts."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    kept = [n for n in names.splitlines() if n.endswith((".py", ".md", ".yml"))]
    kept = [n for n in kept if (ROOT / n).is_file() and n != "docs/METHODS.md"]
    read = {name: (ROOT / name).read_text(encoding="utf-8") for name in kept}
    return {name: re.sub(r"\n\s*#?\s*", " ", text) for name, text in read.items()}


def test_every_citation_resolves():
    missing, count = [], 0
    for name, text in texts().items():
        for found in CITED.finditer(text):
            cited = re.findall(ENTRY, found[1])
            count += len(cited)
            missing += [f"{name}: METHODS.md {entry}" for entry in cited if entry not in listed()]
    assert count > 60, f"only {count} citations found: did their form change?"
    assert not missing, "\n".join(missing)


def test_decisions_named_in_configs_resolve():
    missing = []
    for path in sorted((ROOT / "configs").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        comments = " ".join(re.findall(r"#.*", text) + re.findall(r'"""(.*?)"""', text, re.S))
        cited = set(CODE.findall(comments)) - set(listed())
        missing += [f"{path.relative_to(ROOT)}: {entry}" for entry in sorted(cited)]
    assert not missing, "\n".join(missing)


def test_no_entry_stands_twice():
    assert len(listed()) == len(set(listed()))
