"""Blind sheets for human raters from results folders, and what their answers say."""

import csv
import json
import random
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from vtonlab.evaluation.judge.rubric import CRITERIA
from vtonlab.evaluation.results import Results, pair_name
from vtonlab.evaluation.statistics import (
    bootstrap_interval,
    krippendorff_alpha,
    wilson_interval,
)
from vtonlab.structures.pair_store import write_atomic
from vtonlab.utils.seeding import seed_from

DESIGNS = ("pairwise", "criteria")
CHOICES = {"left": 1.0, "tie": 0.5, "right": 0.0}
COLUMNS = ("rater", "item", "question", "answer")
KEY, PAGE = "key.json", "sheet.html"
PREFERENCE = "which is better"
_PAGE_FILE = Path(__file__).with_name("human_study_page.html")


def export_study(
    systems: Sequence[Results],
    out: str | Path,
    *,
    design: str = "pairwise",
    pairs: int = 50,
    checks: float = 0.1,
    seed: int = 0,
) -> dict[str, Any]:
    """Write a blind study: ``sheet.html`` with its ``pictures/`` for the raters, and ``key.json``,
    which says what is what and stays with you.

    Args:
        systems: results folders of one list; their names must differ.
        out: new folder.
        design: ``"pairwise"`` (which of two is better) or ``"criteria"`` (1 to 5 on the judge's
            three criteria).
        pairs: how many try-on pairs, drawn from those that all systems have.
        checks: share of pairwise items that come back later with the sides swapped.
        seed: of the draw, the sides and the order.

    Returns:
        The key.

    Raises:
        ValueError: too few systems, equal names, no common pairs, or ``out`` is not empty.
    """
    out = Path(out)
    names = [system.system for system in systems]
    if design not in DESIGNS:
        raise ValueError(f"design must be one of {', '.join(DESIGNS)}, not {design!r}")
    if len(systems) < (2 if design == "pairwise" else 1) or len(set(names)) < len(names):
        raise ValueError(f"a {design} study needs systems with different names, not {names}")
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty: name a new folder")
    rng = random.Random(seed_from("human study", seed))  # noqa: S311 - repeatable, not secret
    tables = {system.system: system.by_pair() for system in systems}
    common = sorted(set.intersection(*(set(table) for table in tables.values())))
    if not common:
        raise ValueError(f"{' and '.join(names)} have no pair in common")
    chosen = sorted(rng.sample(common, min(pairs, len(common))))
    items = _items(design, names, chosen, checks, rng)
    (out / "pictures").mkdir(parents=True)
    shown = [_show(number, item, tables, out) for number, item in enumerate(items)]
    key = {
        "format": 1,
        "design": design,
        "systems": names,
        "folders": [str(system.folder.absolute()) for system in systems],
        "pairs": len(chosen),
        "seed": seed,
        "questions": [PREFERENCE] if design == "pairwise" else list(CRITERIA),
        "items": {f"{number:04d}": item for number, item in enumerate(items)},
    }
    write_atomic(out / KEY, (json.dumps(key, indent=2) + "\n").encode())
    questions = [["which is better", "Which picture shows the better try-on of this garment?"]]
    if design == "criteria":
        questions = [[name, what] for name, (what, _) in CRITERIA.items()]
    page = Template(_PAGE_FILE.read_text(encoding="utf-8")).substitute(
        data=json.dumps({"design": design, "questions": questions, "items": shown})
    )
    write_atomic(out / PAGE, page.encode())
    return key


def _items(design: str, names: list[str], chosen: list, checks: float, rng) -> list[dict]:
    items = []
    for pair in chosen:
        label = pair_name(*pair)
        if design == "criteria":
            items += [{"pair": label, "ids": list(pair), "systems": [name]} for name in names]
        else:
            for two in combinations(names, 2):
                sides = list(two) if rng.random() < 0.5 else list(reversed(two))
                items.append({"pair": label, "ids": list(pair), "systems": sides})
    rng.shuffle(items)
    if design == "pairwise":
        again = rng.sample(items, round(checks * len(items)))
        items += [{**item, "systems": item["systems"][::-1], "check": True} for item in again]
    return items


def _show(number: int, item: Mapping, tables: Mapping, out: Path) -> dict[str, Any]:
    """Copy an item's pictures under names that say nothing; what the page needs to know."""
    files = {}
    row = tables[item["systems"][0]][tuple(item["ids"])]
    sources = {"person": row["person_file"], "garment": row["garment_file"]}
    sides = ("left", "right") if len(item["systems"]) == 2 else ("result",)
    for side, system in zip(sides, item["systems"], strict=True):
        sources[side] = tables[system][tuple(item["ids"])]["scored_file"]
    for name, source in sources.items():
        if source is None or not Path(source).is_file():
            raise ValueError(f"the study needs the {name} picture of {item['pair']}: {source}")
        files[name] = f"pictures/{number:04d}_{name}{Path(source).suffix}"
        shutil.copyfile(source, out / files[name])
    return {"item": f"{number:04d}", "files": files}


# analysis ---------------------------------------------------------------------------------------


def read_answers(files: Iterable[str | Path], key: Mapping[str, Any]) -> list[dict[str, str]]:
    """Answers of all raters.

    Raises:
        ValueError: a file without the columns, an unknown item, question or answer, or two answers
            of one rater to one question.
    """
    answers, seen = [], set()
    valid = set(CHOICES) if key["design"] == "pairwise" else set("12345")
    for file in files:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            if not set(COLUMNS) <= set(reader.fieldnames or ()):
                raise ValueError(f"{file} needs the columns {', '.join(COLUMNS)}")
            for number, row in enumerate(reader, 2):
                row = {name: (row[name] or "").strip() for name in COLUMNS}
                where = f"{file}, line {number}"
                if row["item"] not in key["items"] or row["question"] not in key["questions"]:
                    raise ValueError(f"{where}: this study has no {row['item']} {row['question']}")
                if row["answer"] not in valid:
                    raise ValueError(
                        f"{where}: answer {row['answer']!r} is none of {', '.join(sorted(valid))}"
                    )
                name = (row["rater"], row["item"], row["question"])
                if name in seen:
                    raise ValueError(f"{where}: {' '.join(name)} was answered twice")
                seen.add(name)
                answers.append(row)
    if not answers:
        raise ValueError("there are no answers")
    return answers


def analyse_study(
    key: Mapping[str, Any], answers: Sequence[Mapping[str, str]], seed: int = 0
) -> dict[str, Any]:
    """study.json: win rates or mean scores with 95 % intervals, and how far raters agree."""
    result = {
        "format": 1,
        "design": key["design"],
        "systems": key["systems"],
        "answers": len(answers),
        "raters": len({answer["rater"] for answer in answers}),
    }
    if key["design"] == "pairwise":
        return result | _pairwise(key, answers, seed)
    return result | {"win_rates": {}, "criteria": _criteria(key, answers, seed)}


def _pairwise(key: Mapping, answers: Sequence[Mapping], seed: int) -> dict[str, Any]:
    """Ties count half. ``ci95`` takes answers as independent (Wilson); ``ci95_by_item`` draws
    try-on pairs with replacement, which allows for several raters seeing one item.
    """
    first = [a for a in answers if not key["items"][a["item"]].get("check")]
    duels: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for answer in first:
        item = key["items"][answer["item"]]
        left, right = item["systems"]
        value = CHOICES[answer["answer"]]
        duels[left, right][item["pair"]].append(value)
        duels[right, left][item["pair"]].append(1 - value)
    rates = {}
    for name in key["systems"]:
        won: dict[str, list[float]] = defaultdict(list)
        for (system, _), found in duels.items():
            for pair, values in found.items() if system == name else ():
                won[pair] += values
        rates[name] = _rate(won, seed)
    left = [CHOICES[a["answer"]] for a in first]
    return {
        "win_rates": rates,
        "pairwise": {f"{a}>{b}": _rate(found, seed) for (a, b), found in sorted(duels.items())},
        "left_share": {"rate": float(np.mean(left)), "ci95": wilson_interval(sum(left), len(left))},
        "agreement_alpha": krippendorff_alpha(list(_by_item(first, CHOICES.get).values())),
        "same_when_swapped": _consistency(key, answers),
    }


def _rate(won: Mapping[str, Sequence[float]], seed: int) -> dict[str, Any]:
    values = [value for pair in won.values() for value in pair]
    if not values:
        return {"rate": None, "ci95": (0.0, 1.0), "ci95_by_item": None, "n": 0}
    return {
        "rate": float(np.mean(values)),
        "ci95": wilson_interval(sum(values), len(values)),
        "ci95_by_item": bootstrap_interval([float(np.mean(v)) for v in won.values()], seed),
        "n": len(values),
    }


def _by_item(answers: Sequence[Mapping], value_of) -> dict[str, list[float]]:
    items: dict[str, list[float]] = defaultdict(list)
    for answer in answers:
        items[answer["item"]].append(value_of(answer["answer"]))
    return items


def _consistency(key: Mapping, answers: Sequence[Mapping]) -> dict[str, Any] | None:
    """How often a rater chose the same picture when the sides were swapped."""
    chosen: dict[tuple, dict[bool, str]] = defaultdict(dict)
    for answer in answers:
        item = key["items"][answer["item"]]
        sides = dict(zip(("left", "right"), item["systems"], strict=True))
        what = (answer["rater"], item["pair"], *sorted(item["systems"]))
        chosen[what][bool(item.get("check"))] = sides.get(answer["answer"], "tie")
    both = [found for found in chosen.values() if len(found) == 2]
    same = sum(found[True] == found[False] for found in both)
    if not both:
        return None
    return {"rate": same / len(both), "ci95": wilson_interval(same, len(both)), "n": len(both)}


def _criteria(key: Mapping, answers: Sequence[Mapping], seed: int) -> dict[str, Any]:
    """Per criterion and system: mean over try-on pairs of the mean over raters."""
    found: dict[str, Any] = {}
    for question in key["questions"]:
        asked = [answer for answer in answers if answer["question"] == question]
        units = _by_item(asked, float)
        systems = {}
        for name in key["systems"]:
            means = [np.mean(v) for i, v in units.items() if key["items"][i]["systems"] == [name]]
            systems[name] = {
                "mean": float(np.mean(means)) if means else None,
                "ci95": bootstrap_interval(means, seed),
                "n": len(means),
            }
        alpha = krippendorff_alpha(list(units.values()))
        found[question] = {"systems": systems, "agreement_alpha": alpha}
    return found
