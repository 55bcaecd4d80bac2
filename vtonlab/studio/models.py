"""The models of a studio: loaded when first wanted, one visitor at a time."""

import threading
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

from vtonlab.apis import TryOnInferencer, list_models
from vtonlab.apis.receipts import identity
from vtonlab.apis.watching import Usual, calls, usual
from vtonlab.estimators import Preparation

MOST_STEPS = 100  # of one picture


@dataclass
class Offer:
    """A model that visitors can choose.

    Args:
        name: that they see.
        title: one line about it.
        model, checkpoint: what `TryOnInferencer` takes.
    """

    name: str
    title: str
    model: str
    checkpoint: str | None = None
    inferencer: TryOnInferencer | None = field(default=None, repr=False)
    identity: dict[str, str] | None = None


class Shelf:
    """All models of a studio.

    Whoever calls a model holds ``lock``: its settings of a call live in the model.

    Args:
        models: further ones beside the shipped: folders, as `init_model` takes them.
        checkpoint: of the only one of ``models``, which then is a config.
        device, dtype: of all.

    Raises:
        FileNotFoundError, ValueError: what `TryOnInferencer` says of one of ``models``: they are
            loaded at once.
    """

    def __init__(
        self,
        models: Sequence[str] = (),
        checkpoint: str | None = None,
        *,
        device: str | None = None,
        dtype: str | None = None,
    ) -> None:
        if checkpoint is not None and len(models) != 1:
            raise ValueError("--checkpoint is of one --model, its config")
        self.device, self.dtype = device, dtype
        self.lock = threading.RLock()
        self.preparation: Preparation | None = None
        self.offers: dict[str, Offer] = {}
        shipped = {card.name: card for card in list_models(photographs=True)}
        first = []  # what it was started with
        for model in models:
            name = model if model in shipped else self._free(Path(model).stem, shipped)
            first.append(name)
            if model not in shipped:
                self.offers[name] = Offer(name, f"from {model}", model, checkpoint)
                self[name]
        for name, card in shipped.items():
            self.offers[name] = Offer(name, card.title, name)
        usual = (*first, "coral_unet_synthetic", *self.offers)
        self.usual = next(name for name in usual if name in self.offers)

    def _free(self, name: str, shipped: Container[str]) -> str:
        """The name, or the first with a number where it is taken already."""
        names = chain([name], (f"{name} {number}" for number in count(2)))
        return next(n for n in names if n not in shipped and n not in self.offers)

    def __getitem__(self, name: str) -> TryOnInferencer:
        """The model of that name.

        Raises:
            ValueError: it is not offered here.
        """
        if name not in self.offers:
            raise ValueError(
                f"no model {str(name)[:80]!r} here: choose of {', '.join(self.offers)}"
            )
        offer = self.offers[name]
        with self.lock:
            if offer.inferencer is None:
                self.preparation = self.preparation or Preparation()
                offer.inferencer = TryOnInferencer(
                    offer.model,
                    offer.checkpoint,
                    device=self.device,
                    dtype=self.dtype,
                    preparation=self.preparation,
                )
            return offer.inferencer

    def usual_of(self, name: str) -> Usual:
        """How it draws where nothing else is said."""
        return usual(self[name])

    def calls(self, name: str, num_steps: int) -> int:
        """How many steps it tells of, where so many were asked for.

        Raises:
            ValueError: more than anybody waits for here.
        """
        if not 1 <= num_steps <= MOST_STEPS:
            raise ValueError(f"{num_steps} steps: 1 to {MOST_STEPS} are drawn here")
        with self.lock:
            return calls(self[name], num_steps)

    def identity_of(self, name: str) -> dict[str, str]:
        """Name and hash of its weights."""
        offer = self.offers[name]
        offer.identity = offer.identity or identity(offer.model, offer.checkpoint)
        return offer.identity

    def of_receipt(self, model: dict[str, str]) -> str:
        """The name here of the model that a receipt was drawn with.

        Raises:
            ValueError: its weights are not on offer.
        """
        for name in self.offers:
            if self.identity_of(name)["sha256"] == model["sha256"]:
                return name
        raise ValueError(
            f"this receipt is of {model['name'][:80]!r} with weights {model['sha256'][:12]}, which "
            "are not here: start the studio with --model and that folder"
        )
