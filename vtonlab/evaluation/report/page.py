"""The report: results folders as one HTML page that works offline."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np

from vtonlab.evaluation.report.attention import packed, read_attention, rows_that_matter
from vtonlab.evaluation.report.charts import line_chart, smooth
from vtonlab.evaluation.report.gallery import large_pairs
from vtonlab.evaluation.report.pictures import CRISP_HEIGHT, PictureShelf
from vtonlab.evaluation.report.scores import (
    KNOWN,
    category_table,
    fact_sheet,
    label_of,
    score_table,
    share_bars,
)
from vtonlab.evaluation.report.side_files import judge_table, study_table
from vtonlab.evaluation.report.systems import Group, System
from vtonlab.structures.pair_store import sweep, write_atomic
from vtonlab.utils.images import inspect_image, read_image

HERE = Path(__file__).parent
SECTIONS = ("scores", "pairs", "attention", "curves", "commands")
ATTENTION_BYTES = 1_000_000  # of packed maps inside the page; more lie beside it
Note = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart of logged numbers over training steps."""

    key: str
    label: str
    y_range: tuple[float, float] | None = None
    reference: tuple[str, float] | None = None
    smoothed: int = 1


@dataclass(frozen=True, kw_only=True)
class Story:
    """What a page says besides the results. Texts are HTML, written by whoever makes the page.

    Args:
        title: the heading.
        lead: a paragraph under it; by default what is compared.
        figures: (number, caption, CSS colour or ""), large, at the top.
        opening: how many pairs of each group open the page, large, under the shares of the way.
        order: the sections to show.
        headings, notes: section -> its heading, a paragraph under it.
        charts: curves to show; by default the diffusion loss and the first validation score.
        commands: exact command lines; by default those the results remember.
        environment: facts about the machine.
        studies: contents of ``study.json`` files.
    """

    title: str = "Try-on report"
    lead: str = ""
    figures: Sequence[tuple[str, str, str]] = ()
    opening: int = 0
    order: Sequence[str] = SECTIONS
    headings: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    charts: Sequence[Chart] = ()
    commands: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    studies: Sequence[Mapping] = ()


HEADINGS = dict(
    opening="What they draw",
    scores="Scores",
    pairs="Pair by pair",
    attention="Where does a point of the person look?",
    curves="Training",
    commands="How to make this again",
)
NOTES = dict(
    pairs="Choose a score to see how it spreads over the pairs. Drag over the chart to keep a "
    "range of it. A click on a pair opens it large, with two pictures to swipe between.",
    attention="Move over the person, or tap. Each picture of the garment shows what the chosen "
    "point attends to in one model: bright is much.",
)


def write_page(
    out: Path,
    groups: Sequence[Group],
    story: Story | None = None,
    *,
    pictures: str = "auto",
    height: int = 512,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the page to ``out`` and, where they are too many for it, pictures beside it.

    Args:
        out: the HTML file; large sets get the folder ``<stem>_files`` next to it.
        groups: of :func:`vtonlab.evaluation.report.systems.collect`.
        pictures: "embed" (all in one file), "folder" or "auto" (by size).
        height: larger pictures are shrunk to this height.
        progress: called with (pictures done, pictures).

    Returns:
        Size of the page in bytes.
    """
    story = story or Story()
    shelf, folder = PictureShelf(height=height), out.with_name(f"{out.stem}_files")
    out.parent.mkdir(parents=True, exist_ok=True)
    data = {"groups": [_group_data(group, shelf) for group in groups]}
    report = None if progress is None else lambda done: progress(done, len(shelf))
    data["pictures"] = shelf.urls(folder, pictures, report)
    data["attention"] = [_attention_data(group) for group in groups]
    if pictures != "embed":
        _move_large_attention(data["attention"], folder)
    page = _page(groups, story, data)
    sweep(out.parent, out.name)
    write_atomic(out, page.encode("utf-8"))
    return len(page.encode("utf-8"))


# What the script reads ----------------------------------------------------------------------------


def _group_data(group: Group, shelf: PictureShelf) -> dict:
    directions, keys = group.directions(), _columns(group)
    by_pair = [system.results.by_pair() for system in group.systems]
    order = list(dict.fromkeys(pair for rows in by_pair for pair in rows))
    pairs = []
    for pair in order:
        rows = [rows.get(pair) for rows in by_pair]
        known = next(row for row in rows if row)
        files = [
            _file(rows, f"{name}_file") for name in ("person", "agnostic", "garment", "target")
        ]
        pairs.append(
            [
                *pair,
                known.get("category", ""),
                *(shelf.add(path) for path in files),
                [shelf.add(_file([row], "scored_file", "generated_file")) for row in rows],
                [[_short(row.get(key)) if row else None for key in keys] for row in rows],
            ]
        )
    return dict(
        name=group.name,
        systems=[dict(name=s.name, colour=s.colour) for s in group.systems],
        columns=[
            dict(
                key=key,
                label=label_of(key),
                meaning=KNOWN[key][1] if key in KNOWN else "",
                better=directions.get(key),
            )
            for key in keys
        ],
        pairs=pairs,
        size=_size(group),
    )


def _columns(group: Group) -> list[str]:
    """Per-image scores, those with a direction first."""
    directions = group.directions()
    keys = dict.fromkeys(key for system in group.systems for key in system.results.numbers)
    return sorted(keys, key=lambda key: key not in directions)


def _file(rows: Sequence[Mapping | None], *keys: str) -> Path | None:
    """The first file that a row names under one of ``keys``."""
    return next((row[key] for row in rows if row for key in keys if row.get(key)), None)


def _short(value: object) -> float | None:
    return float(f"{value:.4g}") if isinstance(value, int | float) else None


def _size(group: Group) -> list[int]:
    """(width, height) of the first picture there is."""
    rows = [row for system in group.systems for row in system.rows[:1]]
    path = _file(rows, "person_file", "scored_file", "garment_file")
    if path is None or not path.is_file():
        return [3, 4]
    height, width = inspect_image(path, deep=False).size
    return [width, height]


def _attention_data(group: Group) -> list[dict]:
    """One entry for each pair whose attention all systems saved that saved any."""
    saved: dict[tuple, dict[int, tuple[System, Mapping]]] = {}
    places = {}
    for number, system in enumerate(group.systems):
        for place, row in enumerate(system.rows):
            pair = (row["id"], row["garment_id"])
            places.setdefault(pair, place)
            if row.get("attention_file"):
                saved.setdefault(pair, {})[number] = (system, row)
    most = max(map(len, saved.values()), default=0)
    found = []
    for pair in sorted(saved, key=places.__getitem__):
        if len(saved[pair]) == most:
            entry = _attention_of_pair(saved[pair])
            if entry is not None:
                found.append(dict(pair=list(pair), **entry))
    return found


def _attention_of_pair(shown: dict[int, tuple[System, Mapping]]) -> dict | None:
    maps, truth, visible = {}, None, None
    for number, (system, row) in shown.items():
        saved = read_attention(row["attention_file"])
        rows = rows_that_matter(saved, _mask(row))
        if not len(rows):
            return None  # the garment shows nowhere: there is no point to ask about
        default = system.facts["metrics"].get("attention_pck_layer")
        maps[number] = packed(saved, rows)
        maps[number]["start"] = saved.layers.index(default) if default in saved.layers else -1
        if saved.visible is not None and truth is None:
            truth, visible = saved.truth, np.flatnonzero(saved.visible)
    entry = dict(systems=maps)
    if truth is not None:
        entry["truth"] = {str(q): np.round(truth[q], 3).tolist() for q in visible.tolist()}
    return entry


def _mask(row: Mapping) -> np.ndarray | None:
    if not row.get("mask_file"):
        return None
    return read_image(row["mask_file"], "grey")


def _move_large_attention(attention: list[list[dict]], folder: Path) -> None:
    """Beyond the page's share, maps become scripts beside it, loaded when they are asked for."""
    inside = 0
    for number, entries in enumerate(attention):
        for place, entry in enumerate(entries):
            size = sum(len(maps["maps"]) for maps in entry["systems"].values())
            inside += size
            if inside <= ATTENTION_BYTES:
                continue
            folder.mkdir(parents=True, exist_ok=True)
            name = f"attention_{number}_{place:04d}.js"
            call = json.dumps([number, place, entry["systems"]], separators=(",", ":"))
            write_atomic(folder / name, f"vtonlabAttention(...{call});\n".encode())
            entry["systems"], entry["script"] = None, f"{folder.name}/{name}"


# What the reader sees -----------------------------------------------------------------------------


def _page(groups: Sequence[Group], story: Story, data: dict) -> str:
    sections = {
        "scores": "".join([*map(_scores, groups), *map(study_table, story.studies)]),
        "pairs": (HERE / "pairs.html").read_text(encoding="utf-8"),
        "attention": (HERE / "attention.html").read_text(encoding="utf-8"),
        "curves": _curves(groups, story.charts),
        "commands": _commands(groups, story),
    }
    if not any(data["attention"]):
        sections["attention"] = ""
    if story.opening:
        sections["opening"] = "".join(
            large_pairs(group, story.opening) + share_bars(group) for group in groups
        )
    shown = [name for name in ("opening", *story.order) if sections.get(name)]
    headings = HEADINGS | dict(story.headings)
    notes = NOTES | dict(story.notes)
    body = "".join(
        f'<section id="{name}"><h2>{headings[name]}</h2>{_note(notes.get(name))}'
        f"{sections[name]}</section>"
        for name in shown
    )
    short = dict(
        opening="Pictures",
        scores="Scores",
        pairs="Pairs",
        attention="Attention",
        curves="Training",
        commands="Repeat",
    )
    small = all(group["size"][1] <= CRISP_HEIGHT for group in data["groups"])
    parts = {
        "TITLE": escape(story.title),
        "STYLE": (HERE / "page.css").read_text(encoding="utf-8"),
        "CRISP": "crisp" if small else "",
        "LEAD": story.lead or _lead(groups),
        "FIGURES": _figures(story.figures),
        "NAVIGATION": "".join(f'<a href="#{name}">{short[name]}</a>' for name in shown),
        "BODY": body,
        "DATA": json.dumps(data, separators=(",", ":")).replace("</", "<\\/"),
        "SCRIPT": (HERE / "page.js").read_text(encoding="utf-8"),
    }
    template = (HERE / "page.html").read_text(encoding="utf-8")
    head, *rest = template.split("__")
    return head + "".join(
        parts[piece] if place % 2 == 0 else piece for place, piece in enumerate(rest)
    )


def _note(text: str | None) -> str:
    return f'<p class="note">{text}</p>' if text else ""


def _lead(groups: Sequence[Group]) -> str:
    parts = []
    for group in groups:
        names = ", ".join(f"<b>{escape(s.name)}</b>" for s in group.systems)
        parts.append(f"{names}: {len(group.systems[0].rows)} pairs, {escape(group.name)}.")
    return "<br>".join(parts)


def _figures(figures: Sequence[tuple[str, str, str]]) -> str:
    cards = (
        f'<div class="card"><b style="color:{colour or "inherit"}">{figure}</b>'
        f"<span>{caption}</span></div>"
        for figure, caption, colour in figures
    )
    return f'<div class="figures">{"".join(cards)}</div>' if figures else ""


def _scores(group: Group) -> str:
    return (
        f"<h3>{escape(group.name)}</h3>{share_bars(group)}"
        f'<div class="card">{score_table(group)}</div><p class="note">{escape(group.line)}</p>'
        f"{category_table(group)}{judge_table(group)}"
        f"<details><summary>What these numbers depend on</summary>{fact_sheet(group)}</details>"
    )


def _curves(groups: Sequence[Group], charts: Sequence[Chart]) -> str:
    systems = {s.name: s for group in groups for s in group.systems if s.curves}
    keys = list(dict.fromkeys(key for s in systems.values() for key in s.curves))
    charts = charts or _usual_charts(keys, groups)
    chosen = {chart.key for chart in charts}
    others = [
        Chart(key=key, label=key.replace("_", " "), smoothed=5)
        for key in sorted(keys)
        if key not in chosen and key not in ("time", "data_time")
    ]
    if not keys:
        return ""
    legend = "".join(
        f'<span><i class="dot" style="--c:{s.colour}"></i>{escape(s.name)}</span>'
        for s in systems.values()
    )
    shown = "".join(_chart(chart, systems) for chart in charts)
    more = "".join(_chart(chart, systems) for chart in others)
    return (
        f'<div class="legend">{legend}</div><div class="charts">{shown}</div>'
        f"<details><summary>All {len(others)} other curves</summary>"
        f'<div class="charts small">{more}</div></details>'
    )


def _usual_charts(keys: Sequence[str], groups: Sequence[Group]) -> list[Chart]:
    loss = next((key for key in ("loss_diffusion", "loss") if key in keys), None)
    directed = {key for group in groups for key in group.directions()}
    score = next((key for key in keys if key in directed), None)
    found = [Chart(key=loss, label="denoising loss", smoothed=5)] if loss else []
    return found + ([Chart(key=score, label=f"{label_of(score)}, validation")] if score else [])


def _chart(chart: Chart, systems: Mapping[str, System]) -> str:
    lines = {
        name: smooth(s.curves[chart.key], chart.smoothed)
        for name, s in systems.items()
        if chart.key in s.curves
    }
    svg = line_chart(
        lines,
        {name: systems[name].colour for name in lines},
        x_label="training steps",
        y_label=chart.label,
        y_range=chart.y_range,
        reference=chart.reference,
    )
    return f'<div class="card">{svg}</div>'


def _commands(groups: Sequence[Group], story: Story) -> str:
    known = [command for group in groups for s in group.systems for command in s.commands]
    commands = list(dict.fromkeys(story.commands or known))
    facts = "".join(
        f"<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>"
        for key, value in story.environment.items()
    )
    shown = f"<pre>{escape(chr(10).join(commands))}</pre>" if commands else ""
    return shown + (f"<dl>{facts}</dl>" if facts else "")
