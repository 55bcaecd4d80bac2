"""Numbers of the authors' programs (``VTONLAB_PARITY``): read, compared, and written down.

A test asks for the fixture ``parity`` and is marked ``pytest.mark.parity``. What it compares it
also records; `tools/parity_report.py` runs the marked tests and makes docs/parity.md of that.
"""

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import torch

RESULTS = "VTONLAB_PARITY_RESULTS"  # a file: one JSON line for each comparison and departure


class Parity:
    """The folder of recorded numbers.

    Attributes:
        root: holds one folder for each system.
        test: name of the test that asks, written beside what it records.
    """

    def __init__(self, root: Path, test: str) -> None:
        self.root, self.test = root, test

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """All arrays of an ``.npz`` such as ``"leffa/inputs.npz"``."""
        with np.load(self.root / name) as file:
            return {key: file[key] for key in file.files}

    def facts(self, name: str) -> dict:
        """A ``.json``."""
        return json.loads((self.root / name).read_text(encoding="utf-8"))

    def compare(self, system: str, what: str, ours, theirs, tolerance: float, unit: str = ""):
        """Fails where any value differs by more than ``tolerance``; records the largest difference.

        Args:
            system: as docs/parity.md heads it, such as ``"Leffa"``.
            what: the thing compared, in a few words.
            ours, theirs: arrays or tensors of one shape.
            tolerance: largest difference allowed, in the values' own unit.
            unit: of the values: ``"levels"``, ``"px"``, or nothing.
        """
        ours, theirs = _array(ours), _array(theirs)
        assert ours.shape == theirs.shape, f"{what}: {ours.shape}, theirs {theirs.shape}"
        difference = float(np.abs(ours - theirs).max()) if ours.size else 0.0
        scale = float(np.abs(theirs).max()) if theirs.size else 0.0
        self.record(system, what, difference, tolerance, unit=unit, scale=scale)

    def record(
        self,
        system: str,
        what: str,
        difference: float,
        tolerance: float,
        *,
        unit: str = "",
        scale: float | None = None,
    ) -> None:
        """Fails where ``difference`` is above ``tolerance`` (or not a number); writes both down.

        Args:
            scale: largest value among those compared, where that says something.
        """
        _write(
            kind="comparison",
            test=self.test,
            system=system,
            what=what,
            difference=float(difference),
            tolerance=float(tolerance),
            unit=unit,
            scale=scale,
        )
        assert difference <= tolerance, f"{system}, {what}: off by {difference:.3g} {unit}"

    def departs(
        self, system: str, what: str, *, effect: str, switch: str, reason: str, shown: bool
    ) -> None:
        """A place where vtonlab's default does something else than the authors' code, on purpose.

        Args:
            what: ours against theirs, in a few words.
            effect: how much it changes, measured by the test.
            switch: the setting that does it their way, also where ``as_released`` sets it.
            reason: why ours is the default.
            shown: what the test found: that the two ways do differ. False fails.
        """
        _write(
            kind="departure",
            test=self.test,
            system=system,
            what=what,
            effect=effect,
            switch=switch,
            reason=reason,
        )
        assert shown, f"{system}, {what}: the switch {switch} changes nothing"


def drawn_weights(
    recipe: dict, vectors: tuple[tuple[str, float], ...] = (("weight", 1.0),)
) -> dict[str, np.ndarray]:
    """Weights by the recipe W(seed) that the folder's README describes, float32; E(seed) where the
    recipe says ``equalized``.

    Args:
        recipe: ``seed``, ``keys`` (key -> shape) and, where they are there, ``fixed`` values (not
            part of the sum), ``tied`` names, ``scaled`` factors and ``changes`` such as
            ``"a.bias[4:] -= 2"``.
        vectors: (ending, mean) of one-dimensional keys, the first that fits; else the mean is 0.

    Raises:
        AssertionError: the values are not those whose ``sha256`` the recipe gives.
    """
    tied, fixed = recipe.get("tied", {}), recipe.get("fixed", {})
    random, values = np.random.RandomState(recipe["seed"]), {}
    for key in sorted(recipe["keys"]):
        if key in fixed:
            values[key] = np.asarray(fixed[key], np.float32)
        elif key not in tied:
            draw = _draw_equalized if recipe.get("equalized") else _draw
            values[key] = draw(random, key, recipe["keys"][key], vectors)
    for change in recipe.get("changes", ()):
        _change(values, change)
    for key, factor in recipe.get("scaled", {}).items():
        values[key] *= np.float32(factor)
    values |= {key: values[name].copy() for key, name in tied.items()}
    if "sha256" in recipe:
        drawn = {key: value for key, value in values.items() if key not in fixed}
        assert digest(drawn) == recipe["sha256"], "the drawn weights are not the recorded ones"
    return values


def _draw(random: np.random.RandomState, key: str, shape: list[int], vectors) -> np.ndarray:
    drawn = np.asarray(random.standard_normal(tuple(shape)))
    if len(shape) > 1:
        return (drawn / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    mean = next((mean for ending, mean in vectors if key.endswith(ending)), 0.0)
    return (mean + 0.1 * drawn).astype(np.float32)


def _draw_equalized(random: np.random.RandomState, key: str, shape: list[int], _) -> np.ndarray:
    """Layers that scale their weights when used: z itself, but for vectors."""
    drawn = np.asarray(random.standard_normal(tuple(shape)))
    vector = len(shape) < 2 or (len(shape) == 4 and list(shape) == [1, shape[1], 1, 1])
    return (0.1 * drawn if vector else drawn).astype(np.float32)


def _change(values: dict[str, np.ndarray], change: str) -> None:
    """``key[a:b] *= x`` or ``key -= x``, in float32."""
    found = re.fullmatch(r"([\w.]+)(?:\[(\d*):(\d*)\])? ([*+-])= ([\d.]+)", change)
    key, start, stop, sign, number = found.groups()
    part = values[key][slice(int(start) if start else None, int(stop) if stop else None)]
    number = np.float32(number)
    part[...] = {"*": part * number, "+": part + number, "-": part - number}[sign]


def digest(values: dict[str, np.ndarray]) -> str:
    """The sum that key lists give: over keys in sorted order, their names and little-endian
    bytes.
    """
    total = hashlib.sha256()
    for key in sorted(values):
        value = np.ascontiguousarray(values[key])
        total.update(key.encode())
        total.update(value.astype(value.dtype.newbyteorder("<")).tobytes())
    return total.hexdigest()


def _array(value) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    return np.asarray(value, np.float64)


def _write(**facts) -> None:
    place = os.environ.get(RESULTS)
    if place:
        with open(place, "a", encoding="utf-8") as file:  # one short line: whole, also from ranks
            file.write(json.dumps(facts) + "\n")
