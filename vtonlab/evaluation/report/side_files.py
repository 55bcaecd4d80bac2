"""Tables of what stands beside the scores: a vision-language model's marks and people's votes."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from vtonlab.evaluation.report.scores import CRITERIA, system_heads
from vtonlab.evaluation.report.systems import Group
from vtonlab.utils.bounded import FileError, naming, read_json, reason_of

STUDY = "study.json"


def judge_table(group: Group) -> str:
    """Mean mark of each criterion with its interval; nothing where no judge was asked."""
    asked = [(s, judge) for s in group.systems if (judge := s.side_file("judge.json"))]
    if not asked:
        return ""
    head = system_heads([system for system, _ in asked])
    rows = []
    for key in dict.fromkeys(key for _, judge in asked for key in judge["criteria"]):
        cells = "".join(_mark(judge["criteria"].get(key)) for _, judge in asked)
        rows.append(f"<tr><td>{escape(CRITERIA.get(key, key).capitalize())}</td>{cells}</tr>")
    first = asked[0][1]
    counts = ", ".join(
        f"{escape(str(judge.get('answered')))} answers for {escape(s.name)}" for s, judge in asked
    )
    model, repeats = (escape(str(first.get(key))) for key in ("model", "repeats"))
    note = f"Judged by {model}, {repeats} times each; {counts}."
    return (
        f'<h4>A vision-language model\'s marks, 1 to 5</h4><div class="card scroll"><table>'
        f"<thead><tr><th>criterion</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        f'</div><p class="note">{note}</p>'
    )


def _mark(found: dict | None) -> str:
    if not found or found.get("mean") is None:
        return '<td class="n quiet">no answer</td>'
    spread = found.get("ci95")
    small = f"<small>{spread[0]:.2f} to {spread[1]:.2f}</small>" if spread else ""
    return f'<td class="n">{found["mean"]:.2f}{small}</td>'


def find_studies(groups: Sequence[Group], given: Sequence[str | Path] = ()) -> list[dict]:
    """The studies of ``given``, then those that lie in the systems' results folders, each once.

    Raises:
        FileNotFoundError, ValueError: as `read_study`.
    """
    folders = [system.results.folder for group in groups for system in group.systems]
    beside = [folder / STUDY for folder in folders if (folder / STUDY).is_file()]
    found: list[dict] = []
    for study in map(read_study, [*given, *beside]):
        if study not in found:  # of two systems: it lies beside both
            found.append(study)
    return found


def read_study(path: str | Path) -> dict:
    """``study.json`` of ``tools/human_study.py analyse``.

    Raises:
        FileNotFoundError, ValueError: no such file, or it is something else.
    """
    path = Path(path)
    path = path / STUDY if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: make it with tools/human_study.py analyse")
    try:
        study = read_json(path)
    except ValueError as error:
        raise FileError(f"{path} is no study ({reason_of(error)})") from None
    if not isinstance(study, dict) or not {"win_rates", "criteria"} & set(study):
        raise FileError(f"{path} is no study: it has neither win_rates nor criteria")
    with naming(path):
        study_table(study)  # what is not of its form cannot be shown
    return study


def study_table(study: Mapping) -> str:
    """Win rates, or mean marks by criterion, of a study with people."""
    answers, raters = (escape(str(study.get(key))) for key in ("answers", "raters"))
    note = f"{answers} answers of {raters} people."
    if study.get("win_rates"):
        head = '<th>system</th><th class="n">wins</th>'
        rates = study["win_rates"].items()
        rows = [[escape(name), _share(found)] for name, found in rates]
    else:
        names = study["systems"]
        head = "<th>criterion</th>" + "".join(
            f'<th class="n">{escape(name)}</th>' for name in names
        )
        rows = [
            [escape(CRITERIA.get(key, key).capitalize())]
            + [_mark(found["systems"].get(name)) for name in names]
            for key, found in study["criteria"].items()
        ]
    body = "".join(f"<tr><td>{first}</td>{''.join(rest)}</tr>" for first, *rest in rows)
    return (
        '<h4>People\'s votes</h4><div class="card scroll"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f'<p class="note">{note}</p>'
    )


def _share(found: Mapping) -> str:
    if found.get("rate") is None:
        return '<td class="n quiet">no answer</td>'
    low, high = found["ci95"]
    return f'<td class="n">{found["rate"]:.0%}<small>{low:.0%} to {high:.0%}</small></td>'
