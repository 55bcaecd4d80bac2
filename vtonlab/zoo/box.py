"""What lies in the box: a card (JSON) and a safetensors file for each shipped model.

A card says what the weights are, how they were made and what they scored; its SHA-256 is checked
whenever the weights are read. All were trained by us on the people of ``SyntheticTryOn`` alone.
"""

import hashlib
import json
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from torch import Tensor

from vtonlab.utils.bounded import read_json, read_tensors

HERE = Path(__file__).parent
KINDS = ("codec", "base", "model")


@dataclass(frozen=True)
class Card:
    """One shipped model.

    Attributes:
        name: what ``--model`` and configs call it; the card is ``<name>.json``.
        kind: ``codec``, ``base`` (a start for training) or ``model`` (dresses people as it is).
        title: one line for lists.
        config: config file it belongs to, as in the repository.
        file: name of the weights beside the card.
        bytes, sha256: of the weights.
        data: what it learned from.
        command: what makes it again.
        commit: of the repository at which that was run.
        licence: of the weights.
        split: people of ``SyntheticTryOn`` that ``scores`` is of.
        scores: name -> number.
        others: more splits, each with its scores.
        scored_on: number of people, sampler and machine of the scores.
        photographs: whether a model dresses people of two photographs; others read bodies or flows
            that only a data set gives.
    """

    name: str
    kind: str
    title: str
    config: str
    file: str
    bytes: int
    sha256: str
    data: str
    command: str
    commit: str
    licence: str = "Apache-2.0"
    split: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    others: dict[str, dict[str, float]] = field(default_factory=dict)
    scored_on: str = ""
    photographs: bool = True

    def scores_on(self, split: str) -> dict[str, float]:
        """Scores on people of ``split``; empty where there are none."""
        return self.scores if split == self.split else self.others.get(split, {})

    @property
    def path(self) -> Path:
        """Of the weights; unchecked."""
        return HERE / self.file


def cards(kind: str | None = None) -> list[Card]:
    """All shipped models, or those of one kind, by name."""
    found = [_read(path) for path in sorted(HERE.glob("*.json"))]
    return [card for card in found if kind in (None, card.kind)]


def card(name: str) -> Card:
    """The card called ``name``.

    Raises:
        ValueError: nothing of that name ships; names what is near.
    """
    path = HERE / f"{name}.json"
    names = [known.stem for known in sorted(HERE.glob("*.json"))]
    if name not in names:
        near = get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"no model {name!r} in the box: {hint}there are {', '.join(names)}")
    return _read(path)


def weights_path(name: str) -> Path:
    """File of the weights called ``name``, after its hash was checked.

    Raises:
        ValueError: nothing of that name ships, or the file is not what its card says.
        FileNotFoundError: the file is gone.
    """
    known = card(name)
    if not known.path.is_file():
        raise FileNotFoundError(f"{known.path} is gone: install vtonlab again")
    digest = hashlib.sha256(known.path.read_bytes()).hexdigest()
    if digest != known.sha256:
        raise ValueError(
            f"{known.path} is not the file of its card (SHA-256 {digest[:12]}..., the card says "
            f"{known.sha256[:12]}...): install vtonlab again"
        )
    return known.path


def load_weights(name: str) -> dict[str, Tensor]:
    """Tensors of the weights called ``name`` as float32; see :func:`weights_path`."""
    return {key: value.float() for key, value in read_tensors(weights_path(name)).items()}


def write_card(new: Card) -> Path:
    """Put a card beside weights that already lie in the box; returns its path.

    Raises:
        ValueError: an unknown kind.
    """
    if new.kind not in KINDS:
        raise ValueError(f"kind={new.kind!r}: one of {', '.join(KINDS)}")
    path = HERE / f"{new.name}.json"
    path.write_text(json.dumps(new.__dict__, indent=2) + "\n", encoding="utf-8")
    return path


def _read(path: Path) -> Card:
    return Card(**read_json(path))
