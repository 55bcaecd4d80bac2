"""What every matcher offers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vtonlab.matchers.report import MatchReport
from vtonlab.structures import Correspondences


class Matcher:
    """Base class: a subclass sets its arguments in ``__init__`` and writes ``explain``.

    Attributes:
        maps: further maps of a sample it can use, handed to ``explain`` by name if present.
    """

    maps: tuple[str, ...] = ()

    @property
    def versions(self) -> dict[str, str]:
        """What, besides the settings, decides the result: stored with the matches."""
        raise NotImplementedError

    def to(self, device: str) -> Matcher:
        """Compute on ``device``; most matchers know only the CPU."""
        if device != "cpu":
            raise ValueError(f"{type(self).__name__} runs on the CPU only, not on {device!r}")
        return self

    def explain(
        self,
        person: np.ndarray,
        garment: np.ndarray,
        person_mask: np.ndarray | None = None,
        garment_mask: np.ndarray | None = None,
        **maps: np.ndarray | None,
    ) -> MatchReport:
        """Matches of one pair, and what each filter removed.

        Args:
            person, garment: ``(H, W, 3)`` uint8 RGB, of any two sizes.
            person_mask: ``(H, W)``, not 0 where the garment may be worn; None is everywhere.
            garment_mask: ``(Hg, Wg)``, not 0 on the garment; None is everywhere.
            maps: those named in ``self.maps``.
        """
        raise NotImplementedError

    def explain_batch(self, pairs: Sequence[dict]) -> list[MatchReport]:
        """The reports of several pairs, given as the arguments of :meth:`explain`.

        A network may see them together; what is found does not depend on the company.
        """
        return [self.explain(**pair) for pair in pairs]

    def __call__(
        self,
        person: np.ndarray,
        garment: np.ndarray,
        person_mask: np.ndarray | None = None,
        garment_mask: np.ndarray | None = None,
        **maps: np.ndarray | None,
    ) -> Correspondences:
        """Matches of one pair; the arguments are those of :meth:`explain`."""
        return self.explain(person, garment, person_mask, garment_mask, **maps).matches


def weights_version(path: str | Path, network=None) -> str:
    """What tells weights under one name apart: a hash of local files, else the hub's commit.

    Args:
        path: a file, a folder of a model, or a name on the hub.
        network: the loaded transformers model.
    """
    path = Path(path)
    files = [path] if path.is_file() else sorted(path.glob("*")) if path.is_dir() else []
    files = [x for x in files if x.is_file() and x.suffix not in (".md", ".txt")]
    if not files:
        return str(getattr(getattr(network, "config", None), "_commit_hash", None) or "unknown")
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        digest.update(file.name.encode())
        with open(file, "rb") as opened:
            while block := opened.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()


def check_picture(owner: str, name: str, image: np.ndarray) -> None:
    """``ValueError`` unless ``image`` is a ``(H, W, 3)`` uint8 RGB array."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"{owner}: {name} must be a (H, W, 3) uint8 RGB array, not {image.dtype} {image.shape}"
        )


def check_mask(owner: str, name: str, mask: np.ndarray | None, image: np.ndarray) -> None:
    """``ValueError`` unless ``mask`` is None or has the picture's height and width."""
    if mask is not None and mask.shape[:2] != image.shape[:2]:
        raise ValueError(
            f"{owner}: {name} is {mask.shape[0]}x{mask.shape[1]} but its picture "
            f"{image.shape[0]}x{image.shape[1]} (height x width); give both at one size"
        )
