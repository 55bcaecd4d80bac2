"""Visitors: each with a folder and pictures of its own, all gone when it leaves or is idle."""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vtonlab.structures.categories import CATEGORIES
from vtonlab.studio.settings import Settings

GRACE = 60.0  # seconds that a visitor may be away whose page is gone


@dataclass(eq=False)
class Person:
    """A person, and what is tried on. Another one takes its place as a whole: what is still being
    made of this one lands here, and nobody sees it.

    Args:
        photo: (H, W, 3) uint8; None while it is read, and where there is none.
        category: of the garment that the mask is for.
        maps: mask (H, W) in {0, 1} and pose (H, W, 3) of the photo, as far as they are known.
        known: what masks are made from, as far as it came with the photo (a rendered person's parse
            and keypoints), so that nothing need be estimated.
    """

    photo: np.ndarray | None = None
    category: str = CATEGORIES[0]
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    known: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(eq=False)
class Garment:
    """A garment's picture, (H, W, 3) uint8; None while it is read, and where there is none."""

    photo: np.ndarray | None = None


@dataclass
class Session:
    """What one visitor has in hand.

    Args:
        folder: its files.
        person: the last that was put in; ``garment`` likewise.
        asked: person and garment as they were when a result was asked for.
        drawn: the last result with all that belongs to it (`try_on.Drawn`).
        looks: of that result, by question; ``place`` is asked about, (x, y) in [0, 1].
        batch: of the last job (`batch.Job`).
        stop: set to end all that was begun and has not ended.
        running: what is running, for messages.
    """

    folder: Path
    person: Person = field(default_factory=Person)
    garment: Garment = field(default_factory=Garment)
    asked: tuple[Person, Garment] = field(default_factory=lambda: (Person(), Garment()))
    drawn: Any = None
    looks: dict = field(default_factory=dict)
    place: tuple[float, float] = (0.5, 0.4)
    batch: Any = None
    stop: threading.Event = field(default_factory=threading.Event)
    running: bool = False
    used: float = field(default_factory=time.monotonic)

    def new_folder(self, name: str) -> Path:
        """An empty folder of this visitor, in place of the last one of that name."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob(f"{name}-*"):
            shutil.rmtree(path, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    def begin(self) -> None:
        """Something is asked for, maybe while something else runs: `stop` ends both."""
        if self.stop.is_set():
            self.stop = threading.Event()

    def close(self) -> None:
        """Stop what runs and remove every file."""
        self.stop.set()
        shutil.rmtree(self.folder, ignore_errors=True)


class Sessions:
    """All visitors of a studio, and the one folder that their files lie in."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.root = Path(tempfile.mkdtemp(prefix="vtonlab-studio-")).resolve()
        self.root.chmod(0o700)
        self._open: dict[str, Session] = {}
        self._lock = threading.Lock()

    @property
    def uploads(self) -> Path:
        """Where the server puts what browsers send, and what they may fetch."""
        return self.root / "files"

    def of(self, request: Any) -> Session:
        """The visitor behind a request (``gradio.Request``)."""
        name = str(request.session_hash)
        with self._lock:
            session = self._open.pop(name, None)
            if session is None:
                self._make_room()
                session = Session(Path(tempfile.mkdtemp(prefix="visitor-", dir=self.root)))
            session.used = time.monotonic()
            self._open[name] = session  # the last to be asked for stands last
        return session

    def _make_room(self) -> None:
        for name in [n for n, s in self._open.items() if not s.running]:
            if len(self._open) < self.settings.sessions:
                return
            self._open.pop(name).close()

    def leaves(self, name: str) -> None:
        """A page was closed, or its line was cut: its visitor has a minute to come back."""
        with self._lock:
            if name in self._open:
                self._open[name].used = time.monotonic() - self.settings.idle + GRACE

    def sweep(self) -> None:
        """Forget visitors who have been away too long, and uploads that nobody uses any more."""
        oldest = time.monotonic() - self.settings.idle
        with self._lock:
            idle = [n for n, s in self._open.items() if s.used < oldest and not s.running]
            gone = [self._open.pop(name) for name in idle]
            empty = not self._open
        for session in gone:
            session.close()
        before = time.time() - (GRACE if empty else self.settings.idle)
        for path in _below(self.uploads):
            with suppress(OSError):  # a visitor's own thread was quicker
                if path.stat().st_mtime >= before:
                    continue
                if path.is_file():
                    path.unlink()
                elif not any(path.iterdir()):
                    path.rmdir()

    def stored(self) -> int:
        """Bytes of all files; those that are removed meanwhile count nothing."""
        return sum(map(_size, _below(self.root)))

    def check_room(self) -> None:
        """Whether there is room for another result.

        Raises:
            ValueError: visitors' files take all that they may.
        """
        if self.stored() > self.settings.store_bytes:
            raise ValueError("the studio's folder is full: close a page, or come back later")

    def close(self) -> None:
        """The studio ends: nothing stays."""
        with self._lock:
            gone, self._open = list(self._open.values()), {}
        for session in gone:
            session.close()
        shutil.rmtree(self.root, ignore_errors=True)


def _below(root: Path) -> Iterator[Path]:
    """Files before their folders; a folder that goes meanwhile is passed over (``Path.rglob``
    raises there).
    """
    for folder, folders, files in os.walk(root, topdown=False):
        yield from (Path(folder, name) for name in (*files, *folders))


def _size(path: Path) -> int:
    with suppress(OSError):  # another visitor's files go while they are counted
        return path.stat().st_size if path.is_file() else 0
    return 0
