"""What scores are called, what they mean, and the table of them."""

from collections.abc import Sequence
from html import escape

from vtonlab.evaluation.report.systems import Group, System

CRITERIA = {
    "garment_transfer": "garment transfer",
    "attribute_consistency": "attribute consistency",
    "fit_and_pose": "fit and pose",
}
# name, meaning, and the metrics that tell what no model at all would score
KNOWN = {
    "ssim": ("SSIM", "structural similarity to the true picture", ""),
    "ms_ssim": ("MS-SSIM", "structural similarity at five scales", ""),
    "psnr": ("PSNR", "decibels against the true picture", ""),
    "lpips_alex": ("LPIPS (AlexNet)", "distance in the features of a network", ""),
    "lpips_vgg": ("LPIPS (VGG)", "distance in the features of a network", ""),
    "lpips_squeeze": ("LPIPS (SqueezeNet)", "distance in the features of a network", ""),
    "fid": ("FID", "distance between the sets of generated and real pictures", ""),
    "kid_x1000": ("KID x1000", "the same by kernels, times 1000", ""),
    "clip_fid": ("CLIP-FID", "distance between the sets, in CLIP's features", ""),
    "dino_garment_similarity": ("DINO similarity", "of the worn garment to the given one", ""),
    "clip_garment_similarity": ("CLIP similarity", "of the worn garment to the given one", ""),
    "warp_miou": ("Warped garment mIoU", "overlap with the worn garment, percent", ""),
    "delta_e": ("Delta E", "colour difference inside the garment, CIEDE2000", ""),
    "delta_e_mean_colour": ("Delta E of the mean colour", "of the garment as a whole", ""),
    "attention_pck": (
        "Attention PCK",
        "share of visible garment points whose most attended garment cell is right, within one "
        "cell, in the supervised block",
        "attention_pck_chance",
    ),
    "attention_pck_any_layer": (
        "Attention PCK, best block",
        "the same for whichever block is best, supervised or not",
        "attention_pck_chance",
    ),
    "true_share": (
        "Attention on the true cells",
        "share of the attention given the garment, in the supervised block",
        "",
    ),
    "effective_cells": ("Cells attended to", "exp of the entropy of the head mean, there", ""),
    "drawn_error": (
        "Error of the picture attention would draw",
        "on visible garment, each cell giving its patch",
        "",
    ),
    "attention_entropy": ("Attention entropy", "0: one place alone; 1: everywhere alike", ""),
    "garment_mass": ("Garment mass", "share of all attention that falls on the garment", ""),
    "l1_inside": (
        "Error inside the mask",
        "mean absolute error on a scale of 0 to 1",
        "l1_inside_fill l1_inside_plain l1_inside_copy",
    ),
    "share_of_the_way": (
        "Share of the way",
        "from the true mean colour (0) to copying by the true correspondence (1)",
        "",
    ),
    "share_of_the_print": (
        "Share of the print",
        "on the visible garment, from its mean colour (0) to copying by the truth (1)",
        "",
    ),
    "print_contrast": ("Contrast of the print", "against the true one; 1 is right", ""),
    "print_orientation": (
        "Direction of the print",
        "1: stripes run as they should, 0: there are none",
        "",
    ),
    "ssim_inside": ("SSIM inside the mask", "structural similarity there", ""),
    "psnr_outside": ("PSNR outside the mask", "decibels; how well the rest is left alone", ""),
    "ssim_outside": ("SSIM outside the mask", "structural similarity there", ""),
    "l1_outside": ("Error outside the mask", "mean absolute error, 0 to 1", ""),
    "mask_leak": ("Mask leak", "worn garment outside the mask, percent", ""),
}
KNOWN |= {
    f"judge_{key}": (f"Judge: {name}", "mark of 1 to 5 by a vision-language model", "")
    for key, name in CRITERIA.items()
}
REFERENCES = {
    "attention_pck_chance": "guessing",
    "l1_inside_fill": "the true mean colour",
    "l1_inside_plain": "true but for the print, the garment in one colour",
    "l1_inside_copy": "copying by the truth",
}
_ARROWS = {"up": "higher is better", "down": "lower is better"}


def label_of(key: str) -> str:
    """A metric's name for people."""
    return KNOWN[key][0] if key in KNOWN else key.replace("_", " ")


def show(value: object) -> str:
    """A score as text: three decimals, two above ten, none for counts."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if isinstance(value, int) or (float(value).is_integer() and abs(value) >= 1000):
        return f"{value:.0f}"
    if value != 0 and abs(value) < 0.0005:
        return f"{value:.1e}"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def system_heads(systems: Sequence[System]) -> str:
    """Table heads with the systems' colours."""
    return "".join(
        f'<th class="n"><i class="dot" style="--c:{s.colour}"></i>{escape(s.name)}</th>'
        for s in systems
    )


def score_table(group: Group) -> str:
    """The group's table: a row per metric that has a direction, the best value bold."""
    directions, metrics = group.directions(), group.metrics()
    rows = [key for key in metrics if key in directions or key in KNOWN]
    rows.sort(key=lambda key: list(KNOWN).index(key) if key in KNOWN else len(KNOWN))
    with_reference = [key for key in rows if _references(group, key)]
    head = system_heads(group.systems)
    head += '<th class="n quiet">without a model</th>' * bool(with_reference)
    body = "".join(_row(group, key, directions.get(key), bool(with_reference)) for key in rows)
    table = f"<thead><tr><th>score</th>{head}</tr></thead><tbody>{body}</tbody>"
    columns = len(group.systems) + bool(with_reference)
    table = f'<table class="scores" style="--n:{columns}">{table}</table>'
    return f'<div class="scroll">{table}</div>{_missing(group)}'


def share_bars(group: Group) -> str:
    """Each system's share of the way between both bounds, as bars; nothing where it is unknown."""
    shares = [(s, s.facts["metrics"].get("share_of_the_way")) for s in group.systems]
    metrics = next((s.facts["metrics"] for s, share in shares if share is not None), None)
    if metrics is None:
        return ""
    bars = "".join(
        f'<div class="way"><span><i class="dot" style="--c:{s.colour}"></i>{escape(s.name)}</span>'
        f'<div><i style="width:{100 * min(max(share, 0.0), 1.0):.1f}%;--c:{s.colour}"></i></div>'
        f"<b>{share:.0%}</b></div>"
        for s, share in shares
        if share is not None
    )
    ends = (
        f"<span>one colour, error {metrics['l1_inside_fill']:.3f}</span>"
        f"<span>copying by the truth, {metrics['l1_inside_copy']:.3f}</span>"
    )
    return f'<div class="card ways">{bars}<div class="ends">{ends}</div></div>'


def category_table(group: Group) -> str:
    """Scores of each garment category, folded away; nothing where there is one category."""
    found = [(s, s.facts.get("by_category") or {}) for s in group.systems]
    categories = list(dict.fromkeys(name for _, parts in found for name in parts))
    if len(categories) < 2:
        return ""
    directions, rows = group.directions(), []
    for key in [key for key in group.metrics() if key in directions]:
        for name in categories:
            values = [parts.get(name, {}).get(key) for _, parts in found]
            if any(value is not None for value in values):
                cells = "".join(f'<td class="n">{escape(show(value))}</td>' for value in values)
                label = f"{escape(label_of(key))}<small>{escape(name.replace('_', ' '))}</small>"
                rows.append(f"<tr><td>{label}</td>{cells}</tr>")
    head = system_heads(group.systems)
    return (
        "<details><summary>By garment category</summary>"
        f'<div class="card scroll"><table><thead><tr><th>score</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _row(group: Group, key: str, direction: str | None, reference: bool) -> str:
    values = [s.facts["metrics"].get(key) for s in group.systems]
    best = _best(values, direction)
    meaning = KNOWN[key][1] if key in KNOWN else ""
    hint = "; ".join(filter(None, [meaning, _ARROWS.get(direction or "")]))
    cells = [f"<td>{escape(label_of(key))}<small>{escape(hint)}</small></td>"]
    for system, value in zip(group.systems, values, strict=True):
        spread = _spread(system.facts, key)
        style = "n best" if value is not None and value == best else "n"
        text = escape(show(value)) or '<span class="quiet">not computed</span>'
        cells.append(f'<td class="{style}">{text}<small>{escape(spread)}</small></td>')
    if reference:
        shown = "".join(
            f"{escape(show(value))}<small>{escape(name)}</small>"
            for name, value in _references(group, key)
        )
        cells.append(f'<td class="n quiet">{shown}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _best(values: Sequence, direction: str | None) -> float | None:
    numbers = [v for v in values if isinstance(v, int | float)]
    if direction is None or len(numbers) < 2:
        return None
    return max(numbers) if direction == "up" else min(numbers)


def _spread(facts: dict, key: str) -> str:
    if (facts.get("intervals") or {}).get(key):
        low, high = facts["intervals"][key]
        return f"{show(low)} to {show(high)}"
    spread = facts["metrics"].get(f"{key}_std")
    return f"± {show(spread)}" if spread is not None else ""


def _references(group: Group, key: str) -> list[tuple[str, float]]:
    """What no model would score: (name, value) of each bound that the results know."""
    metrics = group.systems[0].facts["metrics"]
    for system in group.systems:
        metrics = {**system.facts["metrics"], **metrics}
    others = KNOWN[key][2].split() if key in KNOWN else []
    return [(REFERENCES[o], metrics[o]) for o in others if metrics.get(o) is not None]


def _missing(group: Group) -> str:
    """Which metrics were not computed, and why, each reason once."""
    reasons: dict[str, None] = {}
    for system in group.systems:
        for key, reason in (system.facts.get("not_computed") or {}).items():
            reasons[f"<b>{escape(label_of(key))}</b> was not computed: {escape(reason)}"] = None
    return "".join(f'<p class="note">{text}</p>' for text in reasons)


def fact_sheet(group: Group) -> str:
    """Per system, what its numbers depend on: list, repaint, seeds, versions, weights."""
    parts = []
    for system in group.systems:
        facts = system.facts
        pairs = facts.get("list") or {}
        shown = {
            "protocol": group.line,
            "pairs": f"{facts.get('images')} of {pairs.get('name') or 'the test data'} "
            f"(sha256 {str(pairs.get('sha256'))[:12]})",
            "scored pictures": (facts.get("pictures") or {}).get("scored"),
            "repaint": facts.get("repaint"),
            "mask": facts.get("mask_source"),
            "seeds": _joined(facts.get("seeds")),
            "sampler": _joined(facts.get("sampler")),
            "config": facts.get("config"),
            "checkpoint": facts.get("checkpoint"),
            "sha256": str(facts.get("sha256") or "")[:12],
            "versions": _joined(facts.get("versions")),
            "weights": _weights(facts.get("weights") or {}),
            "date": (facts.get("run") or {}).get("date"),
        }
        lines = "".join(
            f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>"
            for key, value in shown.items()
            if value not in (None, "", {})
        )
        parts.append(
            f'<h4><i class="dot" style="--c:{system.colour}"></i>{escape(system.name)}</h4>'
            f"<dl>{lines}</dl>"
        )
    return "".join(parts)


def _joined(facts: dict | None) -> str:
    return ", ".join(f"{key} {value}" for key, value in (facts or {}).items())


def _weights(weights: dict) -> str:
    shown = []
    for name, facts in weights.items():
        doubt = "" if facts.get("official") else " (not the official file)"
        shown.append(f"{name} {(facts.get('sha256') or '')[:8]}{doubt}")
    return ", ".join(shown)
