"""The report as text for a terminal."""

import textwrap
from collections.abc import Iterator

from vtonlab.doctor.findings import LEVELS, Finding, Report
from vtonlab.doctor.kinds import KINDS

WIDTH = 100
_EXAMPLES = 4


def show(report: Report) -> str:
    """What it is, what is there, what is wrong, what to do."""
    lines = [*_head(report), "", *_folders(report), *_leak(report), ""]
    for finding in report.sorted():
        lines += _finding(finding)
    return "\n".join([*lines, _verdict(report)])


def _head(report: Report) -> Iterator[str]:
    if not report.kind:
        yield f"{report.root}: not recognised"
        return
    kind = KINDS[report.kind]
    people = ", ".join(f"{name} {count}" for name, count in report.people.items())
    yield f"{kind.layout.title} at {report.root}"
    yield f"read it with type={kind.reader!r}; people: {people}"


def _folders(report: Report) -> Iterator[str]:
    """A row for each map, a column for each part: people who have it, of all."""
    parts = list(report.folders)
    if not parts:
        return
    maps = list(KINDS[report.kind].layout.places)
    widths = [max(len(part), 13) for part in parts]
    head = "  ".join(f"{part:>{w}}" for part, w in zip(parts, widths, strict=True))
    yield f"{'':14} {head}"
    for name in maps:
        cells = [_cell(report, part, name) for part in parts]
        if any(cell != "-" for cell in cells):
            row = "  ".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
            yield f"{name:14} {row}"
    for part in parts:
        sizes = report.folders[part].get("person", {}).get("sizes", {})
        if sizes:
            found = ", ".join(f"{size} ({count})" for size, count in sizes.items())
            yield f"photographs of {part}: {found} (height x width)"


def _cell(report: Report, part: str, name: str) -> str:
    entry = report.folders[part].get(name)
    if entry is None:
        return "-"
    total = report.people.get(part, 0)
    return str(total) if entry["people"] == total else f"{entry['people']} of {total}"


def _leak(report: Report) -> Iterator[str]:
    leak = report.leak
    if not leak:
        return
    yield ""
    yield (
        f"leak score (worn garment visible outside the mask) of {leak['people']} people: "
        f"{leak['zero']} at 0, median {leak['median']:.4f}, largest {leak['largest']:.4f}"
    )
    for bin in leak["histogram"]:
        if bin["people"]:
            bar = "#" * max(1, round(40 * bin["people"] / leak["people"]))
            yield f"  above {bin['above']:<5} to {bin['to']:<5} {bin['people']:6d} {bar}"


def _finding(finding: Finding) -> list[str]:
    count = f"{finding.count}" + (f" of {finding.of}" if finding.of else "")
    head = f"{finding.level:8}{finding.code}: {finding.place}"
    head += f" ({count})" if finding.paths else ""
    text = finding.meaning + (f": {finding.detail}" if finding.detail else "")
    lines = [head, *_wrapped(text), *_wrapped(f"way out: {finding.way_out}")]
    lines += [f"          - {path}" for path in finding.paths[:_EXAMPLES]]
    if finding.count > _EXAMPLES and finding.paths:
        lines.append(f"          and {finding.count - _EXAMPLES} more")
    return [*lines, ""]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)


def _verdict(report: Report) -> str:
    counts = {level: sum(f.level == level for f in report.findings) for level in LEVELS}
    looked = report.looked
    verdict = ("usable", "usable with warnings", "not usable as it is")[report.exit_code]
    found = ", ".join(f"{n} {level}{'s' * (n != 1)}" for level, n in counts.items())
    text = f"{verdict}: {found}"
    if "people" not in looked:
        return text
    pixels = f"pixels of {looked['people']} of {looked['of_people']} people looked at"
    text += f"; {looked['pictures']} pictures opened, {pixels}, {looked['seconds']:.1f} s"
    return text if looked["people"] == looked["of_people"] else f"{text} (--deep: all)"
