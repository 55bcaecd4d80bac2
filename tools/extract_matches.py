"""Compute the matches that a config's data sets ask for, once, before training.

Example:
    python tools/extract_matches.py configs/coral/dit_tiny_vitonhd.py \\
        --cfg-options data_root=data/vitonhd --workers 8

A data set asks with ``matches=dict(matcher=dict(type="SIFTMatcher", ...))``. The run may be killed
at any moment: the same command goes on where it stopped, and recomputes pairs whose file is damaged
or whose photographs, or files that their maps came from, have changed. Matches of other mask
settings, labels or tasks lie in a folder of their own. A pair that fails is reported at the end and
stops no other.

Exit codes: 0 done, 1 done but some pairs failed, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import contextlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
_JOB = None  # this worker's (data set, matcher, store)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import add_cfg_options, at_least, parse

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="a config whose data sets have `matches`")
    parser.add_argument(
        "--workers",
        type=at_least(1),
        default=len(os.sched_getaffinity(0)),
        help="default: one per core",
    )
    parser.add_argument("--device", default="cpu", help="of matchers that are networks")
    parser.add_argument(
        "--batch", type=at_least(1), default=1, help="pairs that a network sees at once, default 1"
    )
    add_cfg_options(parser)
    return parse(parser, argv)


# what a config asks for ------------------------------------------------------------------------


def data_sets_with_matches(config) -> Iterator[dict]:
    """Every data set of the config's loaders that has ``matches``, through wrappers."""

    def walk(node) -> Iterator[dict]:
        for item in node if isinstance(node, (list, tuple)) else [node]:
            if not isinstance(item, dict):
                continue
            if item.get("matches"):
                yield item
            for key in ("dataset", "datasets"):
                yield from walk(item.get(key))

    for loader in LOADERS:
        yield from walk((config.get(loader) or {}).get("dataset"))


def requests_of(config_path: str, options: dict) -> list[dict]:
    """Plain configs of the data sets to extract for, with their ``matches``; no two the same."""
    return _requests(_load(config_path, options), config_path)


def _load(config_path: str, options: dict):
    from vtonlab.engine.config.load import finalize, load_config

    return finalize(load_config(config_path, options))


def _requests(config, config_path: str) -> list[dict]:
    from vtonlab.structures.match_store import of_role

    found = []
    for node in data_sets_with_matches(config):
        plain = node.to_dict()
        roles, alone = plain.pop("matched", ()), plain["matches"]
        further = [dict(plain, garment_column=role, matches=of_role(alone, role)) for role in roles]
        found += [one for one in (plain, *further) if one not in found]
    if not found:
        raise ValueError(
            f"{config_path} asks for no matches: give a data set "
            'matches=dict(matcher=dict(type="SIFTMatcher"))'
        )
    return found


def build_for_extraction(request: dict):
    """The data set at its photographs' own size, without transforms, reading only what is matched.

    It offers ``pairs`` (``(person id, garment id)`` tuples), ``files(index)`` by map and
    ``load(index)``.
    """
    from vtonlab.engine.config.check import accepted_arguments
    from vtonlab.registry import DATASETS
    from vtonlab.structures.match_store import DEFAULT_MAPS

    maps = request["matches"].get("maps")
    changes = dict(
        matches=None,
        latents=None,  # of another size, and perhaps not made yet
        shuffle_correspondences=False,
        transforms=None,
        size=None,
        maps=list(DEFAULT_MAPS if maps is None else maps),
        paint_hair=False,
    )
    kind = request["type"]
    taken = accepted_arguments(DATASETS.get(kind) if isinstance(kind, str) else kind)
    return DATASETS.build({**request, **{k: v for k, v in changes.items() if k in taken}})


# one worker ------------------------------------------------------------------------------------


def start_worker(request: dict, device: str, parent: int, imports: list[str]) -> None:
    """Build this process's data set and matcher, on one thread; die with the parent."""
    import cv2
    import torch
    from mmengine.utils import import_modules_from_strings

    from vtonlab.registry import MATCHERS
    from vtonlab.structures.match_store import MatchStore, store_request

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    global _JOB
    threading.Thread(target=watch, daemon=True).start()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    import_modules_from_strings(imports)
    with contextlib.redirect_stdout(None):  # the parent has said it
        dataset = build_for_extraction(request)
    matcher = MATCHERS.build(dict(request["matches"]["matcher"])).to(device)
    directory, _ = store_request(
        request["matches"], dataset.data_root, dataset.split, dataset.map_settings
    )
    _JOB = dataset, matcher, MatchStore(directory)


def extract(indices: tuple[int, ...]) -> list[tuple[int, str, str]]:
    """Make sure that these pairs are stored; returns index, what happened, and why.

    ``current``, ``done``, ``redone`` (with the reason) or ``failed`` (with the error).
    """
    from vtonlab.utils.writing import WriteError

    dataset, matcher, store = _JOB
    outcomes, work = [], []
    for index in indices:
        try:
            files = dataset.files(index)
            state = store.state(*dataset.pairs[index], files)
            if state == "current":
                outcomes.append((index, "current", ""))
            else:
                work.append((index, state, files, arguments_of(matcher, dataset.load(index))))
        except Exception as error:
            outcomes.append(_failure(index, error))
    for (index, state, files, _), report in zip(work, _reports(matcher, work), strict=True):
        try:
            if isinstance(report, Exception):
                raise report
            store.write(*dataset.pairs[index], report.matches, files, report.counts)
            new = state == "missing"
            outcomes.append((index, "done" if new else "redone", "" if new else state))
        except WriteError:  # the disk: no pair's fault, and no reason to forget it
            raise
        except Exception as error:
            outcomes.append(_failure(index, error))
    return outcomes


def _reports(matcher, work: list[tuple]) -> list:
    """A report or an exception for each pair; a batch that fails is taken apart."""
    pairs = [pair for *_, pair in work]
    try:
        return matcher.explain_batch(pairs)
    except Exception as error:
        if len(work) == 1:
            return [error]
        return [_reports(matcher, [one])[0] for one in work]


def _failure(index: int, error: Exception) -> tuple[int, str, str]:
    """Nothing stays stored of a pair that failed."""
    dataset, _, store = _JOB
    store.discard(*dataset.pairs[index])
    return index, "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"


def arguments_of(matcher, sample: dict) -> dict:
    """What the matcher sees of a sample: the worn garment's mask wins over the agnostic one."""
    return dict(
        person=sample["person"],
        garment=sample["garment"],
        person_mask=sample.get("worn_mask", sample.get("mask")),
        garment_mask=sample.get("garment_mask"),
        **{name: sample[name] for name in matcher.maps if name in sample},
    )


# all workers -----------------------------------------------------------------------------------


def run_pairs(
    indices: list[int], workers: int, initargs: tuple, batch: int = 1
) -> Iterator[tuple[int, str, str]]:
    """Index, outcome and reason of every pair, in any order.

    A worker that dies takes its pool with it: the pairs then in work run again one by one, each in
    a process of its own, and only those that kill it once more count as failed.
    """
    context = get_context("fork" if initargs[1] == "cpu" and sys.platform == "linux" else "spawn")

    def pool(count: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            count, mp_context=context, initializer=start_worker, initargs=initargs
        )

    groups = [tuple(indices[i : i + batch]) for i in range(0, len(indices), batch)]
    waiting = groups[::-1]
    while waiting:
        running = {}
        try:
            with pool(workers) as executor:
                while waiting or running:
                    while waiting and len(running) < 2 * workers:
                        group = waiting.pop()
                        running[executor.submit(extract, group)] = group
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        outcomes = future.result()
                        del running[future]
                        yield from outcomes
        except BrokenProcessPool:
            for index in (index for group in running.values() for index in group):
                try:
                    with pool(1) as executor:
                        yield from executor.submit(extract, (index,)).result()
                except BrokenProcessPool:
                    yield index, "failed", "its process died (killed, or out of memory)"


def extract_store(
    request: dict, workers: int, device: str, imports: list[str], batch: int = 1
) -> dict[str, str]:
    """Fill one store with progress, close it, print its statistics.

    Returns:
        The failed pairs and why.
    """
    from vtonlab.registry import MATCHERS
    from vtonlab.structures.match_store import MatchStore
    from vtonlab.structures.pair_store import pair_key
    from vtonlab.utils.locking import WorkDirLock

    dataset = build_for_extraction(request)
    matcher = MATCHERS.build(dict(request["matches"]["matcher"])).to(device)
    store = MatchStore.create(
        request["matches"],
        dataset.data_root,
        dataset.split,
        matcher.versions,
        dataset.map_settings,
    )
    first = {}
    for index, pair in enumerate(dataset.pairs):
        first.setdefault(tuple(pair), index)
    progress = Progress(f"{type(matcher).__name__} {dataset.split}", len(first))
    failed = {}
    print(f"{store.directory}: {len(first)} pairs of {dataset.data_root}, {workers} worker(s)")
    initargs = (request, device, os.getpid(), imports)
    with WorkDirLock(store.directory, "`root` of its matches"):
        for index, outcome, reason in run_pairs(list(first.values()), workers, initargs, batch):
            key = pair_key(*dataset.pairs[index])
            if outcome == "failed":
                failed[key] = reason
            if outcome == "redone":
                progress.say(f"again: {reason}")
            progress.step(outcome)
        progress.close()
        store.finish(list(first), failed)
    print_statistics(store, [pair for pair in first if pair_key(*pair) not in failed])
    for key, reason in sorted(failed.items()):
        print(f"failed: {key}: {reason}")
    return failed


class Progress:
    """One line that renews itself on a terminal, every ten seconds elsewhere."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total, self.counts = name, total, {}
        self.start = self.last = time.monotonic()
        self.live = sys.stdout.isatty()

    def step(self, outcome: str) -> None:
        self.counts[outcome] = self.counts.get(outcome, 0) + 1
        now = time.monotonic()
        if now - self.last > (0.2 if self.live else 10):
            self.last = now
            print(self.line(now), end="\r" if self.live else "\n", flush=True)

    def line(self, now: float) -> str:
        done, seconds = sum(self.counts.values()), max(now - self.start, 1e-6)
        computed = done - self.counts.get("current", 0)
        left = (self.total - done) * seconds / max(done, 1)
        return (
            f"{self.name}: {done}/{self.total}, {computed / seconds:.1f} pairs/s, "
            f"ETA {int(left) // 60}:{int(left) % 60:02d}, failed {self.counts.get('failed', 0)}   "
        )

    def say(self, text: str) -> None:
        print(text, flush=True)

    def close(self) -> None:
        seconds = time.monotonic() - self.start
        computed = sum(self.counts.values()) - self.counts.get("current", 0)
        print(
            f"{self.name}: {computed} computed, {self.counts.get('current', 0)} already there, "
            f"{seconds:.1f} s ({computed / max(seconds, 1e-6):.1f} pairs/s)"
        )


def print_statistics(store, pairs: list[tuple[str, str]]) -> None:
    """Counts per pair, and what each filter removed of what reached it."""
    from statistics import median

    counts = sorted(entry["matches"] for entry in store.manifest["pairs"].values())
    if not counts:
        return
    print(
        f"matches per pair: median {median(counts):g}, largest {counts[-1]}, total {sum(counts)}; "
        f"{counts.count(0)} of {len(counts)} pairs have none"
    )
    totals: dict[str, int] = {}
    for pair in pairs:
        for name, value in store.report(*pair).items():
            totals[name] = totals.get(name, 0) + value
    left = totals.pop("candidates", 0)
    steps = [n for n in totals if n != "matches" and not n.endswith("_keypoints")]
    if left:
        print(f"  {'candidates':>18} {left:9d}")
    for name in steps if left else ():
        print(f"  {name:>18} {-totals[name]:9d}")
    print(f"  {'matches':>18} {sum(counts):9d}")


def run_config(config: str, options: dict, workers: int, device: str, batch: int = 1) -> int:
    """Fill every store the config asks for; returns the exit code."""
    import cv2

    cv2.setNumThreads(1)  # a forked worker would wait for ever for OpenCV's idle threads
    loaded, failed = _load(config, options), 0
    imports = list((loaded.get("custom_imports") or {}).get("imports", ()))
    for request in _requests(loaded, config):
        failed += len(extract_store(request, workers, device, imports, batch))
    if failed:
        print(f"{failed} pair(s) failed; mend them and run the same command again")
    return 1 if failed else 0


def main() -> int:
    args = parse_args()
    for name in ("workers", "batch"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} must be at least 1, not {getattr(args, name)}")
    return run_config(args.config, args.cfg_options, args.workers, args.device, args.batch)


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
