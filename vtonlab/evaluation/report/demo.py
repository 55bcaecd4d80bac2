"""The demo's page: two models side by side, in one HTML file that works offline."""

import json
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from vtonlab.evaluation.report.charts import Series, line_chart, smooth
from vtonlab.evaluation.report.pictures import data_url, packed_maps

TEMPLATE = Path(__file__).with_suffix(".html")
MODELS = ("baseline", "coral")
NAMES = {"baseline": "baseline", "coral": "CORAL"}
COLOURS = {"baseline": "#6b7a90", "coral": "#e4572e"}
SCORES = {
    "attention_pck": (
        "Attention PCK",
        "share of visible garment points whose most attended garment cell is right, within one "
        "cell, in the block that CORAL supervises; higher is better",
    ),
    "attention_pck_any_layer": (
        "Attention PCK, best block",
        "the same for whichever block is best, supervised or not",
    ),
    "garment_mass": (
        "Garment mass",
        "share of all attention that falls on the garment at these points",
    ),
    "l1_inside": ("Error inside the mask", "mean absolute error, 0 to 1; lower is better"),
    "ssim_inside": ("SSIM inside the mask", "structural similarity; higher is better"),
    "psnr_outside": ("PSNR outside the mask", "decibels; how well the rest is left alone"),
}


@dataclass
class Exhibit:
    """One held-out person: pictures uint8 (H, W, 3), what each model drew, and where each model's
    attention went.
    """

    person: np.ndarray
    agnostic: np.ndarray
    garment: np.ndarray
    outputs: dict[str, np.ndarray]  # model -> (H, W, 3)
    maps: dict[str, np.ndarray]  # model -> (Nq, Nk) head mean of the attention given the garment
    truth: np.ndarray  # (Nq, 2) garment points in [0, 1]
    visible: np.ndarray  # (Nq,) bool
    grid: tuple[int, int]


@dataclass
class Curves:
    """What one run logged: (iteration, value) points."""

    loss: Series
    pck: Series


def build_page(
    summary: dict,
    exhibits: list[Exhibit],
    curves: dict[str, Curves],
    commands: list[str],
    explored: int = 6,
) -> str:
    """The whole page as text.

    Args:
        summary: the content of ``summary.json``.
        exhibits: people of the gallery; the first ``explored`` whose garment shows in the flat
            picture can be explored point by point.
        curves: model -> its curves.
        commands: the exact command lines.
    """
    height, width = exhibits[0].person.shape[:2]
    shown = [e for e in exhibits if e.visible.any()][:explored]
    data = dict(grid=exhibits[0].grid, samples=[_explorable(e) for e in shown])
    parts = {
        "MINUTES": f"{summary['seconds']['training'] / 60:.0f}",
        "SIZE": f"{width}x{height}",
        "FIGURES": _figures(summary),
        "GALLERY": _gallery(exhibits),
        "CHARTS": _charts(curves, summary),
        "TABLE": _table(summary),
        "CAVEAT": _caveat(summary),
        "COMMANDS": escape("\n".join(commands)),
        "ENVIRONMENT": "".join(
            f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>"
            for k, v in summary["environment"].items()
        ),
        "DATA": json.dumps(data, separators=(",", ":")),
    }
    page = TEMPLATE.read_text(encoding="utf-8")
    for name, text in parts.items():
        page = page.replace(f"__{name}__", text)
    return page


def _explorable(exhibit: Exhibit) -> dict:
    visible = np.flatnonzero(exhibit.visible)
    centre = exhibit.truth[visible].mean(0)
    start = visible[np.abs(exhibit.truth[visible] - centre).max(1).argmin()]
    return dict(
        person=data_url(exhibit.person),
        garment=data_url(exhibit.garment),
        maps={name: packed_maps(exhibit.maps[name]) for name in MODELS},
        truth=np.round(exhibit.truth, 3).tolist(),
        visible=visible.tolist(),
        start=int(start),
    )


def _figures(summary: dict) -> str:
    baseline, coral = summary["baseline"], summary["coral"]
    cards = [
        ("coral", f"{coral['attention_pck']:.0%}", "of garment points found by CORAL's attention"),
        ("base", f"{baseline['attention_pck']:.0%}", "found by the baseline's"),
        ("", f"{coral['attention_pck_chance']:.1%}", "would be found by guessing"),
        (
            "",
            f"{coral['l1_inside'] / baseline['l1_inside'] - 1:+.1%}",
            f"error inside the try-on area, CORAL against baseline "
            f"({coral['l1_inside']:.3f} against {baseline['l1_inside']:.3f})",
        ),
    ]
    return "".join(
        f'<div class="card"><b class="{style}">{figure}</b><span>{text}</span></div>'
        for style, figure, text in cards
    )


def _gallery(exhibits: list[Exhibit]) -> str:
    cells = []
    for exhibit in exhibits:
        for picture, caption in (
            (exhibit.agnostic, "given: person"),
            (exhibit.garment, "given: garment"),
            (exhibit.outputs["baseline"], "baseline"),
            (exhibit.outputs["coral"], "CORAL"),
            (exhibit.person, "the truth"),
        ):
            cells.append(
                f'<div><img src="{data_url(picture)}" alt="{caption}"><em>{caption}</em></div>'
            )
    return "".join(cells)


def _charts(curves: dict[str, Curves], summary: dict) -> str:
    loss = line_chart(
        {NAMES[name]: smooth(curves[name].loss) for name in MODELS},
        {NAMES[name]: COLOURS[name] for name in MODELS},
        x_label="training steps",
        y_label="denoising loss",
    )
    pck = line_chart(
        {NAMES[name]: curves[name].pck for name in MODELS},
        {NAMES[name]: COLOURS[name] for name in MODELS},
        x_label="training steps",
        y_label="attention PCK, validation people",
        y_range=(0.0, 1.0),
        reference=("guessing", summary["coral"]["attention_pck_chance"]),
    )
    return f'<div class="card">{pck}</div><div class="card">{loss}</div>'


def _table(summary: dict) -> str:
    rows = [
        '<tr><th>score</th><th class="n base">baseline</th><th class="n coral">CORAL</th>'
        '<th class="n">chance</th></tr>'
    ]
    for key, (name, meaning) in SCORES.items():
        chance = f"{summary['coral']['attention_pck_chance']:.3f}" if "pck" in key else ""
        rows.append(
            f"<tr><td>{name}<small>{meaning}</small></td>"
            + "".join(f'<td class="n">{summary[model][key]:.3f}</td>' for model in MODELS)
            + f'<td class="n">{chance}</td></tr>'
        )
    return "".join(rows)


def _caveat(summary: dict) -> str:
    coral = summary["coral"]
    return escape(
        f"{coral['pictures']} held-out people, {coral['attention_pck_queries']} visible points; "
        f"the most attended cell is that of the head-averaged map of the supervised block, at "
        f"noise level 0.5, under attention given the garment. Pictures are scored as generated, "
        f"before the photograph is pasted back. Painting the true mean colour into the mask would "
        f"score an error of {coral['l1_inside_fill']:.3f}. One seed of toy models: the difference "
        f"is the point, the pictures are not."
    )
