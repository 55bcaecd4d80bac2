"""Tables of what stands beside the scores: a vision-language model's marks and people's votes."""

from html import escape

from vtonlab.evaluation.report.scores import CRITERIA, system_heads
from vtonlab.evaluation.report.systems import Group


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
        f"{judge.get('answered')} answers for {escape(s.name)}" for s, judge in asked
    )
    note = (
        f"Judged by {escape(str(first.get('model')))}, {first.get('repeats')} times each; {counts}."
    )
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


def study_table(group: Group) -> str:
    """Win rates of a study with people; nothing where there was none."""
    study = next((found for s in group.systems if (found := s.side_file("study.json"))), None)
    if study is None:
        return ""
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="n">{rate["rate"]:.0%}'
        f"<small>{rate['ci95'][0]:.0%} to {rate['ci95'][1]:.0%}</small></td></tr>"
        for name, rate in study["win_rates"].items()
    )
    note = f"{study.get('answers')} answers of {study.get('raters')} people."
    return (
        '<h4>People\'s votes</h4><div class="card scroll"><table><thead><tr><th>model</th>'
        f'<th class="n">wins</th></tr></thead><tbody>{rows}</tbody></table></div>'
        f'<p class="note">{note}</p>'
    )
