"""Blind sheets and the analysis of answers, with planted preferences."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rendered import smooth_picture

from vtonlab.evaluation.human_study import PREFERENCE, analyse_study, export_study, read_answers
from vtonlab.evaluation.results import read_results, write_results

SYSTEMS = ("secret_a", "secret_b", "secret_c")
GOOD = {"secret_a": 3, "secret_b": 2, "secret_c": 1}


@pytest.fixture
def systems(tmp_path):
    found = []
    for number, name in enumerate(SYSTEMS):
        folder, rows = tmp_path / name, []
        folder.mkdir()
        for pair in range(12):
            row = {"id": f"p{pair}", "garment_id": f"g{pair}", "category": "dresses"}
            for key in ("person", "garment", "scored"):
                file = f"{key}_{pair}.png"
                Image.fromarray(smooth_picture(100 * number + pair, (16, 12))).save(folder / file)
                row[f"{key}_file"] = file
            rows.append(row | {"index": pair})
        write_results(folder, {"system": name}, rows)
        found.append(read_results(folder))
    return found


def write_answers(path: Path, rater: str, key: dict, answer) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["rater", "item", "question", "answer"])
        for name, item in key["items"].items():
            for question in key["questions"]:
                writer.writerow([rater, name, question, answer(item, question)])
    return path


def better(item, question=PREFERENCE):
    left, right = (GOOD[name] for name in item["systems"])
    return "left" if left > right else "right"


def test_pairwise_study_round_trip(systems, tmp_path):
    out = tmp_path / "study"
    key = export_study(systems, out, pairs=10, checks=0.2, seed=1)
    assert len(key["items"]) == 10 * 3 + 6
    files = [write_answers(tmp_path / f"{r}.csv", r, key, better) for r in ("anna", "bert")]
    study = analyse_study(key, read_answers(files, key))
    rates = {name: found["rate"] for name, found in study["win_rates"].items()}
    assert rates == {"secret_a": 1.0, "secret_b": 0.5, "secret_c": 0.0}
    duel = study["pairwise"]["secret_a>secret_b"]
    assert duel["rate"] == 1 and duel["n"] == 20 and 0.8 < duel["ci95"][0] < 1
    assert study["raters"] == 2 and study["agreement_alpha"] == pytest.approx(1)
    assert study["same_when_swapped"]["rate"] == 1 and study["same_when_swapped"]["n"] == 12
    assert study["left_share"]["ci95"][0] < 0.5 < study["left_share"]["ci95"][1]


def test_ties_count_half_and_a_left_habit_shows(systems, tmp_path):
    key = export_study(systems[:2], tmp_path / "study", pairs=12, checks=0.5)
    file = write_answers(tmp_path / "a.csv", "a", key, lambda item, q: "tie")
    study = analyse_study(key, read_answers([file], key))
    assert study["win_rates"]["secret_a"]["rate"] == 0.5
    file = write_answers(tmp_path / "b.csv", "b", key, lambda item, q: "left")
    study = analyse_study(key, read_answers([file], key))
    assert study["left_share"]["rate"] == 1 and study["same_when_swapped"]["rate"] == 0


def test_the_sheet_is_blind(systems, tmp_path):
    out = tmp_path / "study"
    key = export_study(systems[:2], out, pairs=12, seed=0)
    assert "secret" not in (out / "sheet.html").read_text()
    names = [p.name for p in (out / "pictures").iterdir()]
    assert not [name for name in names if "secret" in name]
    sides = [item["systems"][0] for item in key["items"].values()]
    assert {"secret_a", "secret_b"} == set(sides)
    assert json.loads((out / "key.json").read_text()) == key
    again = export_study(systems[:2], tmp_path / "again", pairs=12, seed=0)
    other = export_study(systems[:2], tmp_path / "other", pairs=12, seed=5)
    assert again == key and other["items"] != key["items"]


def test_criteria_study(systems, tmp_path):
    key = export_study(systems, tmp_path / "study", design="criteria", pairs=6)
    file = write_answers(
        tmp_path / "a.csv", "a", key, lambda item, q: str(GOOD[item["systems"][0]] + 1)
    )
    study = analyse_study(key, read_answers([file], key))
    for found in study["criteria"].values():
        means = {name: s["mean"] for name, s in found["systems"].items()}
        assert means == {"secret_a": 4, "secret_b": 3, "secret_c": 2}
        assert found["systems"]["secret_a"]["n"] == 6


def test_intervals_cover_the_truth():
    """Wilson's interval of a planted rate holds it about 95 times in 100."""
    from vtonlab.evaluation.statistics import bootstrap_interval, wilson_interval

    rng, rate, covered = np.random.default_rng(0), 0.7, 0
    for _ in range(400):
        low, high = wilson_interval(rng.binomial(60, rate), 60)
        covered += low <= rate <= high
    assert 0.92 < covered / 400 < 0.98
    low, high = bootstrap_interval(rng.normal(3, 1, 200))
    assert low < 3 < high and high - low < 0.4
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_alpha_against_a_published_example():
    """Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability": interval alpha 0.849."""
    from vtonlab.evaluation.statistics import exact_agreement, krippendorff_alpha

    raters = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    units = [[r[n] for r in raters if r[n] is not None] for n in range(12)]
    assert krippendorff_alpha(units) == pytest.approx(0.849, abs=1e-3)
    assert krippendorff_alpha([[3, 3], [3, 3]]) is None and krippendorff_alpha([[1]]) is None
    assert exact_agreement([[1, 1, 2]]) == pytest.approx(1 / 3)


def test_bad_answers_and_studies(systems, tmp_path):
    key = export_study(systems[:2], tmp_path / "study", pairs=2, checks=0)
    for content, message in (
        ("rater,item\na,0000\n", "needs the columns"),
        (f"rater,item,question,answer\na,9999,{PREFERENCE},left\n", "line 2: this study has no"),
        (f"rater,item,question,answer\na,0000,{PREFERENCE},best\n", "none of left, right, tie"),
        (
            "rater,item,question,answer\n" + 2 * f"a,0000,{PREFERENCE},left\n",
            "line 3: .*answered twice",
        ),
    ):
        (tmp_path / "bad.csv").write_text(content)
        with pytest.raises(ValueError, match=message):
            read_answers([tmp_path / "bad.csv"], key)
    with pytest.raises(ValueError, match="not empty"):
        export_study(systems[:2], tmp_path / "study")
    with pytest.raises(ValueError, match="different names"):
        export_study([systems[0], systems[0]], tmp_path / "new")
