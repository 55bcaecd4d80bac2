"""Results folders as systems that can be compared, and groups of those that may be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vtonlab.evaluation.report.charts import Series
from vtonlab.evaluation.report.curves import read_curves
from vtonlab.evaluation.results import RESULTS, Results, find_results, pair_name, read_results
from vtonlab.utils.bounded import NUMBER, check_form, naming, read_json
from vtonlab.utils.images import inspect_image

COLOURS = ("#64748b", "#e4572e", "#0f9d8a", "#7c5cbf", "#c98a00", "#2f7fd6", "#b0457b", "#5b8c2a")
COMMANDS = "commands.txt"  # of a work directory, one line for each start of its training
JUDGE = "judge_"  # columns of a vision-language model's marks
SHOWN = {"setting!": str, "metrics!": dict}  # of results.json, without which nothing is shown
_MARK = {"mean": (None, NUMBER), "ci95": (None, (NUMBER, NUMBER))}
SIDE_FILES = {
    "judge.json": {
        "criteria!": {...: (None, _MARK)},
        "per_pair": (None, {...: {...: (None, NUMBER)}}),
    }
}


@dataclass
class System:
    """One results folder: what a model scored and drew in one setting under one protocol."""

    name: str
    results: Results
    curves: dict[str, Series] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)  # that trained and tested it, in order
    colour: str = COLOURS[0]

    @property
    def facts(self) -> dict:
        """The content of ``results.json``."""
        return self.results.facts

    @property
    def rows(self) -> list[dict]:
        """The rows of ``per_image.csv``."""
        return self.results.rows

    def side_file(self, name: str) -> dict | None:
        """A file such as ``judge.json`` of the folder, None where there is none."""
        path = self.results.folder / name
        if not path.is_file():
            return None
        with naming(path):
            check_form(found := read_json(path), SIDE_FILES[name])
        return found


@dataclass
class Group:
    """Systems scored on the same pairs under the same protocol at the same size; only these stand
    side by side.
    """

    name: str
    systems: list[System]

    @property
    def line(self) -> str:
        """Everything the numbers depend on, in one line."""
        protocol = self.systems[0].facts.get("protocol")
        return protocol["line"] if protocol else "the config's own metrics, no named protocol"

    def directions(self) -> dict[str, str]:
        """Metric -> "up" or "down", of all systems."""
        found = {k: v for s in self.systems for k, v in (s.facts.get("directions") or {}).items()}
        marks = [key for s in self.systems for key in s.results.numbers if key.startswith(JUDGE)]
        return found | dict.fromkeys(marks, "up")

    def metrics(self) -> list[str]:
        """Names of all metrics, in the order of the first system that has them."""
        return list({name: None for s in self.systems for name in s.facts["metrics"]})


def collect(work_dirs: Sequence[str | Path], names: Mapping[str, str] | None = None) -> list[Group]:
    """Every results folder below ``work_dirs``, grouped by what may be compared.

    Args:
        work_dirs: results folders, or folders above them. ``NAME=DIR`` names what is below.
        names: other names for systems, by the name in their results.

    Raises:
        FileNotFoundError: a folder that is missing or holds no results.
        ValueError: results that are not what ``tools/test.py`` writes.
    """
    found: dict[Path, System] = {}
    for given in map(str, work_dirs):
        named = "=" in given and not Path(given).exists()
        label, _, path = given.partition("=") if named else ("", "", given)
        for folder in find_results([path]):
            results = read_results(folder)
            name = label or (names or {}).get(results.system, results.system)
            if folder.resolve() not in found:
                found[folder.resolve()] = _system(name, results)
    systems = list(found.values())
    groups = _grouped(systems)
    for group in groups:
        _tell_apart(group.systems)
    labels = list(dict.fromkeys(system.name for system in systems))
    for system in systems:
        place = labels.index(system.name) if len(labels) > 1 else 1
        system.colour = COLOURS[place % len(COLOURS)]
    return groups


def _grouped(systems: list[System]) -> list[Group]:
    found: dict[tuple, list[System]] = {}
    for system in systems:
        facts = system.facts
        protocol = (facts.get("protocol") or {}).get("name") or "own metrics"
        pairs = (facts.get("list") or {}).get("sha256")
        key = (facts["setting"], protocol, _compared_size(system), pairs)
        found.setdefault(key, []).append(system)
    return [Group(_heading(key, found), alike) for key, alike in found.items()]


def _compared_size(system: System) -> str:
    """HEIGHTxWIDTH that a system was scored at; "an unknown size" where no picture tells."""
    size = (system.facts.get("protocol") or {}).get("size")
    if not isinstance(size, list):
        row = system.rows[0] if system.rows else {}
        path = row.get("person_file" if size == "truth" else "scored_file")
        if path is None or not path.is_file():
            return "an unknown size"
        size = inspect_image(path, deep=False).size
    return "x".join(map(str, size))


def _heading(key: tuple, found: Mapping[tuple, list[System]]) -> str:
    """Setting and protocol, then the size and the list where these tell two groups apart."""
    setting, protocol, size, _ = key
    alike = [other for other in found if other[:2] == key[:2]]
    name = f"{setting}, {protocol}"
    if len({other[2] for other in alike}) > 1:
        name += f" at {size}"
    if len({other[3] for other in alike}) > 1:
        pairs = found[key][0].facts.get("list") or {}
        listed = pairs.get("name") or f"list {str(pairs.get('sha256'))[:12]}"
        name += f", {listed} ({pairs.get('pairs')} pairs)"
    return name


def _tell_apart(systems: list[System]) -> None:
    """Systems of one name get the part of their path that differs."""
    for name in {system.name for system in systems}:
        same = [system for system in systems if system.name == name]
        if len(same) == 1:
            continue
        parts = [system.results.folder.resolve().parts for system in same]
        width = max(map(len, parts))
        padded = [("",) * (width - len(p)) + p for p in parts]
        differ = [i for i in range(width) if len({p[i] for p in padded}) > 1]
        for system, path in zip(same, padded, strict=True):
            system.name = f"{name} ({'/'.join(path[i] for i in differ if path[i])})"


def _system(name: str, results: Results) -> System:
    """With the curves and commands of the run that its checkpoint came from, where it lies."""
    with naming(results.folder / RESULTS):
        check_form(results.facts, SHOWN)
    checkpoint = results.facts.get("checkpoint")
    places = [Path(checkpoint).parent] if checkpoint else []
    places += [results.folder.parent, results.folder.parent.parent]
    home = next((place for place in places if any(place.glob("*/vis_data/scalars.json"))), None)
    system = System(name, results)
    if home is not None:
        system.curves = read_curves(home)
        if (home / COMMANDS).is_file():
            system.commands += (home / COMMANDS).read_text(encoding="utf-8").splitlines()
    if (results.facts.get("run") or {}).get("command"):
        system.commands.append(results.facts["run"]["command"])
    marks = (system.side_file("judge.json") or {}).get("per_pair") or {}
    criteria = list(dict.fromkeys(key for found in marks.values() for key in found))
    for row in results.rows:
        given = marks.get(pair_name(row["id"], row["garment_id"]), {})
        row |= {f"{JUDGE}{key}": given.get(key) for key in criteria}
    return system
