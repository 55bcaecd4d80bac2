"""What a training run logged, as points over iterations."""

from pathlib import Path

from vtonlab.evaluation.report.charts import Series
from vtonlab.utils.bounded import naming, read_json_lines


def read_curves(work_dir: str | Path) -> dict[str, Series]:
    """Every scalar of a work directory: name -> (iteration, value) points in order.

    All starts of a resumed run are joined; where two logged one iteration, the later counts.
    Validation scores that were logged without an iteration stand at the last one before them.
    """
    points: dict[str, dict[int, float]] = {}
    for path in sorted(Path(work_dir).glob("*/vis_data/scalars.json")):
        with naming(path):
            _add(points, _rows(path))
    return {key: sorted(line.items()) for key, line in points.items()}


def _add(points: dict[str, dict[int, float]], rows: list[dict]) -> None:
    step = 0
    for row in rows:
        step = int(row.get("iter") or row.get("step") or step)
        for key, value in row.items():
            if key not in ("iter", "step") and isinstance(value, int | float):
                points.setdefault(key, {})[step] = float(value)


def _rows(path: Path) -> list[dict]:
    return [row for _, row in read_json_lines(path, damaged="any")]  # kills leave half a line
