"""Writing synthetic data in the layouts of real data sets: interrupted anywhere, resumed exactly.

A layout says which samples there are and which files each becomes. Files are written under a
temporary name and renamed, so what has its name is whole; a run that finds all files of a sample
goes on to the next. Nothing in a file depends on workers, time or machine load.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple, Protocol

from vtonlab.structures.pair_store import plain_settings, sweep, write_atomic
from vtonlab.synthetic.dataset import SyntheticTryOn
from vtonlab.synthetic.writer_files import json_bytes
from vtonlab.utils.bounded import read_json

SETTINGS_FILE = "synthetic.json"
FORMAT = 1
SPLITS = ("train", "test")
MASKS = ("png", "coco")


@dataclass(frozen=True)
class Settings:
    """What a written tree depends on.

    Args:
        layout: Name of a layout.
        count: Pairs altogether, over all splits and categories.
        size: (height, width) of every picture.
        seed: Of all samples.
        split: ``train``, ``test``, or ``both``: then a fifth of the pairs, two at least, is test.
        masks: ``png``: mask pictures as the data set ships them; ``coco``: run-length JSON instead.

    Raises:
        ValueError: A value that cannot be used; names it.
    """

    layout: str
    count: int
    size: tuple[int, int]
    seed: int = 0
    split: str = "both"
    masks: str = "png"

    def __post_init__(self) -> None:
        if self.split not in (*SPLITS, "both"):
            raise ValueError(f"split {self.split!r} is none of train, test, both")
        if self.masks not in MASKS:
            raise ValueError(f"masks {self.masks!r} is none of {', '.join(MASKS)}")
        if min(self.size) < 32:
            raise ValueError(
                f"size {self.size[0]}x{self.size[1]} (height x width) is too small: a person needs "
                "at least 32x32 pixels"
            )
        if self.seed < 0:
            raise ValueError(f"seed {self.seed} is negative; use 0 or more")

    def split_by(self, sets: Sequence[str]) -> dict[tuple[str, str], int]:
        """Pairs by (set, split), an equal share for each of ``sets``; the first take the rest.

        Raises:
            ValueError: ``count`` is too small.
        """
        self.require(len(sets))
        share, rest = divmod(self.count, len(sets))
        totals = {name: share + (number < rest) for number, name in enumerate(sets)}
        if self.split != "both":
            return {(name, self.split): total for name, total in totals.items()}
        found = {}
        for name, total in totals.items():
            test = max(2, round(total / 5))
            found |= {(name, "train"): total - test, (name, "test"): test}
        return found

    def require(self, sets: int) -> None:
        """``ValueError`` if ``count`` is too small for ``sets`` categories."""
        least = sets * {"train": 1, "test": 2, "both": 3}[self.split]
        if self.count < least:
            raise ValueError(
                f"count {self.count} is too small: {self.layout} with split {self.split} needs at "
                f"least {least} (a train pair, and two test pairs to exchange garments between)"
            )

    def counts(self) -> dict[str, int]:
        """Pairs of each split."""
        if self.split != "both":
            return {self.split: self.count}
        test = max(2, round(self.count / 5))
        return {"train": self.count - test, "test": test}


class Job(NamedTuple):
    """One sample to write: which data set, which place in it, under which name."""

    dataset: str
    index: int
    name: str


class Layout(Protocol):
    """How a data set lies on disk."""

    def open(self, dataset: str) -> SyntheticTryOn:
        """The data set that a job's ``dataset`` names."""

    def jobs(self) -> Sequence[Job]:
        """All samples, in the order of the lists."""

    def paths(self, job: Job) -> Sequence[str]:
        """The files of a sample, below the root."""

    def files(self, job: Job, sample: Mapping) -> Mapping[str, bytes]:
        """The same files with their bytes."""

    def lists(self) -> Mapping[str, bytes]:
        """Files about the whole set, apart from samples."""

    def summaries(self, root: Path) -> Mapping[str, bytes]:
        """Files made from the samples' files once all are there."""


class Summary(NamedTuple):
    """What a run did: samples written, samples found whole, seconds."""

    written: int
    found: int
    seconds: float


def write_dataset(
    layout: Layout,
    settings: Settings,
    out: str | Path,
    *,
    workers: int = 1,
    progress: Callable[[int, int, int], None] | None = None,
) -> Summary:
    """Write a data set, or the rest of one.

    Args:
        layout: What to write; it is sent to the workers.
        settings: What the layout was made from; kept in ``out`` and compared when resuming.
        out: Root folder; made if absent.
        workers: Processes; with 1 no other process is started.
        progress: Called with (done, found among them, total) after each sample.

    Raises:
        ValueError: ``out`` holds something else, or a set with other settings.
        ChildProcessError: A worker died or failed; the same call goes on from there.
        OSError: A file could not be written.
    """
    root, start = Path(out), time.monotonic()
    _claim(root, settings)
    sweep(root)
    jobs = list(layout.jobs())
    for folder in sorted({Path(path).parent for job in jobs for path in layout.paths(job)}):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for path, data in layout.lists().items():
        _place(root / path, data)
    found = 0
    todo = []
    for job in jobs:
        whole = all((root / path).is_file() for path in layout.paths(job))
        found += whole
        if not whole:
            todo.append(job)
    done = found
    if progress is not None:
        progress(done, found, len(jobs))
    for _ in _run(layout, root, todo, workers):
        done += 1
        if progress is not None:
            progress(done, found, len(jobs))
    for path, data in layout.summaries(root).items():
        _place(root / path, data)
    return Summary(len(todo), found, time.monotonic() - start)


def write_jobs(layout: Layout, root: Path, jobs: Sequence[Job]) -> Iterator[Job]:
    """Render and write samples one after another in this process."""
    made: dict[str, SyntheticTryOn] = {}
    for job in jobs:
        if job.dataset not in made:
            made[job.dataset] = layout.open(job.dataset)
        for path, data in layout.files(job, made[job.dataset][job.index]).items():
            write_atomic(root / path, data)
        yield job


def _run(layout: Layout, root: Path, jobs: Sequence[Job], workers: int) -> Iterator[Job]:
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield from write_jobs(layout, root, jobs)
        return
    context = multiprocessing.get_context("spawn")
    running, pipes = [], []
    for number in range(workers):
        ours, theirs = context.Pipe(duplex=False)
        share = jobs[number::workers]
        process = context.Process(target=_work, args=(layout, root, share, theirs), daemon=True)
        process.start()
        theirs.close()
        running.append(process)
        pipes.append(ours)
    try:
        yield from _collect(pipes)
    finally:
        for process in running:
            process.terminate()
            process.join()


def _collect(pipes: list) -> Iterator[Job]:
    """Jobs as the workers finish them.

    Raises:
        ChildProcessError: A worker said it failed, or fell silent before its work was done.
    """
    open_pipes = list(pipes)
    while open_pipes:
        for pipe in wait(open_pipes):
            try:
                kind, value = pipe.recv()
            except EOFError:
                raise ChildProcessError(
                    "a worker ended before its work was done (killed, or out of memory); run the "
                    "same command again to go on from here, with fewer --workers if memory is short"
                ) from None
            if kind == "done":
                yield value
            elif kind == "failed":
                raise ChildProcessError(f"a worker failed: {value}")
            else:
                open_pipes.remove(pipe)


def _work(layout: Layout, root: Path, jobs: Sequence[Job], pipe) -> None:
    """A worker's life; it also ends when its parent does, between two samples."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    try:
        for job in write_jobs(layout, root, jobs):
            if parent is None or not parent.is_alive():
                return
            pipe.send(("done", job))
        pipe.send(("end", None))
    except (OSError, ValueError) as error:
        pipe.send(("failed", f"{error}"))


def _claim(root: Path, settings: Settings) -> None:
    """Make ``root`` ours, or see that it already is."""
    wanted = {"format": FORMAT, **plain_settings(asdict(settings))}
    path = root / SETTINGS_FILE
    if path.is_file():
        try:
            found = read_json(path)
            differing = [key for key in wanted if found.get(key) != wanted[key]]
        except (ValueError, AttributeError):
            raise ValueError(f"{path} cannot be read; remove {root} and write it again") from None
        if differing:
            changes = ", ".join(f"{k} {found.get(k)} (now {wanted[k]})" for k in differing)
            raise ValueError(
                f"{root} holds a set written with {changes}: name another folder, or remove it"
            )
        return
    if root.exists() and (not root.is_dir() or any(_visible(root))):
        raise ValueError(f"{root} is not empty and was not written by this tool: name a new folder")
    root.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json_bytes(wanted))


def _visible(root: Path) -> Iterator[str]:
    return (name for name in os.listdir(root) if not name.startswith(".tmp-"))


def _place(path: Path, data: bytes) -> None:
    """Write unless the file already says the same."""
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)
