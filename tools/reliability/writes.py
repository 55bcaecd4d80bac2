"""Every kind of write whose loss would hurt, small: what is there before, the write, what must hold
after it was cut anywhere, and how the same command goes on.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Write(NamedTuple):
    """One kind of write.

    ``before(folder)`` commits something; ``write(folder)`` is what is cut; ``held(folder)`` is what
    a reader then finds, as comparable values: it raises where something is torn; ``resume(folder)``
    is what the same command does when it is given again.
    """

    before: Callable[[Path], None]
    write: Callable[[Path], None]
    held: Callable[[Path], dict]
    resume: Callable[[Path], None]


# checkpoints ------------------------------------------------------------------------------------


class Saver:
    """As much of a runner as the checkpoint hook needs to save."""

    def __init__(self, folder: Path, size: int = 300) -> None:
        import torch
        from mmengine.logging import MessageHub

        self.work_dir = str(folder)
        self.message_hub = MessageHub.get_instance(f"saver-{folder}")
        self.weights = {str(n): torch.full((size,), float(n)) for n in range(4)}

    def save_checkpoint(self, out_dir: str, name: str, meta: dict) -> None:
        from vtonlab.engine.checkpoints.files import save_checkpoint_file

        save_checkpoint_file({"state_dict": self.weights, "meta": meta}, Path(out_dir) / name)


def save_steps(folder: Path, *steps: int, size: int = 300) -> None:
    """Checkpoints through the real hook, two kept."""
    from vtonlab.engine.hooks import SafeCheckpointHook

    saver, hook = Saver(folder, size), SafeCheckpointHook(interval=1)
    hook.out_dir = str(folder)
    hook.kept = [step for step in (1, 2) if (folder / f"iter_{step}.pth").is_file()]
    for step in steps:
        hook._save_checkpoint_with_step(saver, step, meta=dict(iter=step))


def checkpoints_held(folder: Path) -> dict:
    from vtonlab.engine.checkpoints.files import find_latest, find_problem, read_checkpoint

    latest = find_latest(folder, lambda text: None)
    for path in folder.glob("*.pth"):
        if problem := find_problem(path):
            raise ValueError(f"{path.name}: {problem}")
    return {"newest": read_checkpoint(latest)["meta"]["iter"]}


def save_again(folder: Path) -> None:
    from vtonlab.engine.checkpoints.files import remove_checkpoint, sweep

    sweep(folder)
    if checkpoints_held(folder)["newest"] < 3:
        save_steps(folder, 3)
    remove_checkpoint(folder / "iter_1.pth")  # the next save of a run does it


def export(folder: Path, value: float) -> None:
    import torch

    from vtonlab.engine.checkpoints.files import save_safetensors

    save_safetensors({"w": torch.full((500,), value)}, folder / "model.safetensors", {"iter": 3})


def export_held(folder: Path) -> dict:
    from vtonlab.engine.checkpoints.files import read_checkpoint

    return {"w": read_checkpoint(folder / "model.safetensors")["state_dict"]["w"][0].item()}


def export_again(folder: Path) -> None:
    from vtonlab.engine.checkpoints.files import sweep

    sweep(folder)
    export(folder, 2.0)


# stores -----------------------------------------------------------------------------------------

PAIRS = (("p0", "g0"), ("p1", "g1"))


def match_store(folder: Path):
    from vtonlab.structures.match_store import MatchStore

    matches = {"matcher": {"type": "SIFTMatcher"}, "root": str(folder / "matches")}
    return MatchStore.create(matches, folder, "train", {"opencv": "5"})


def write_matches(folder: Path, number: int) -> None:
    from vtonlab.structures.correspondences import Correspondences

    points = np.linspace(0, 1, 8, dtype=np.float32).reshape(4, 2)
    matched = dict(person_points=points, garment_points=points, scores=points[:, 0] + number + 1)
    match_store(folder).write(*PAIRS[number], Correspondences.from_dict(matched))


def latent_store(folder: Path):
    from vtonlab.structures.latent_store import LatentStore

    return LatentStore.start(folder / "latents", {"data": {}, "made_by": {}, "dtype": "float32"})


def write_latents(folder: Path, number: int) -> None:
    import torch

    latent_store(folder).write(*PAIRS[number], {"target.0": torch.full((1, 4, 8, 8), number + 1.0)})


def store_held(store_of: Callable) -> Callable[[Path], dict]:
    """Pairs of a store, each whole or missing."""

    def held(folder: Path) -> dict:
        store = store_of(folder)
        found = {}
        for pair in PAIRS:
            if store.path(*pair).is_file():
                arrays = {k: v.tolist() for k, v in store.load(*pair).items()}
                found[pair[0]] = json.dumps(arrays, default=repr)
        return found | {"complete": store.manifest["complete"]}

    return held


def pair_again(store_of: Callable, write: Callable) -> Callable[[Path], None]:
    def resume(folder: Path) -> None:
        if store_of(folder).state(*PAIRS[1], {}) != "current":
            write(folder, 1)

    return resume


def close_store(folder: Path) -> None:
    match_store(folder).finish(PAIRS, {})


# journals, results, reports ---------------------------------------------------------------------


def note_pair(folder: Path, index: int) -> None:
    from vtonlab.engine.testing.pair_loop import Journal

    Journal(folder).write(index, {"id": f"p{index}", "l1": index / 3, "files": ["x" * 300]})


def pairs_noted(folder: Path) -> dict:
    from vtonlab.engine.testing.pair_loop import Journal

    journal = Journal(folder)
    done = sorted(journal.done(2))
    entries = journal.read(len(done))
    return {str(index): entry["l1"] for index, entry in zip(done, entries, strict=True)}


def note_again(folder: Path) -> None:
    from vtonlab.utils.writing import sweep

    sweep(folder)  # as a test does once the folder is its own
    note_pair(folder, 1)


ANSWERS = "judge_answers.jsonl"


def answer(folder: Path, *numbers: int) -> None:
    from vtonlab.utils.journal import append, mend

    mend(folder / ANSWERS)
    for number in numbers:
        append(folder / ANSWERS, {"key": number, "reason": "because " * 700})


def answers_held(folder: Path) -> dict:
    from vtonlab.utils.bounded import read_json_lines

    return {str(entry["key"]): entry["reason"] for _, entry in read_json_lines(folder / ANSWERS)}


def answer_again(folder: Path) -> None:
    answer(folder, *({0, 1, 2} - set(map(int, answers_held(folder)))))


def score(folder: Path, value: float) -> None:
    from vtonlab.evaluation.results import write_results

    rows = [{"id": f"p{n}", "garment_id": "g", "index": n, "l1": value + n} for n in range(9)]
    write_results(folder, {"system": "x", "setting": "paired", "metrics": {"l1": value}}, rows)


def scores_held(folder: Path) -> dict:
    from vtonlab.evaluation.results import read_results

    results = read_results(folder)
    value = results.facts["metrics"]["l1"]
    if [row["l1"] for row in results.rows] != [value + n for n in range(9)]:
        raise ValueError("results.json and per_image.csv are of two runs")
    return {"l1": value}


def report(folder: Path, title: str) -> None:
    from vtonlab.evaluation.report.page import Story, write_page

    write_page(folder / "report.html", [], Story(title=title))


def write_report(folder: Path) -> None:
    report(folder, "new")


def report_held(folder: Path) -> dict:
    page = (folder / "report.html").read_text(encoding="utf-8")
    if not page.rstrip().endswith("</html>"):
        raise ValueError("the page is cut")
    return {"title": page.split("<title>")[1].split("</title>")[0]}


def writes() -> dict[str, Write]:
    """Name -> write, in the order of the table."""
    both = store_held(match_store)
    return {
        "checkpoint": Write(
            lambda f: save_steps(f, 1, 2), lambda f: save_steps(f, 3), checkpoints_held, save_again
        ),
        "export, replaced": Write(
            lambda f: export(f, 1.0), lambda f: export(f, 2.0), export_held, export_again
        ),
        "match store, a pair": Write(
            lambda f: write_matches(f, 0),
            lambda f: write_matches(f, 1),
            both,
            pair_again(match_store, write_matches),
        ),
        "match store, closing": Write(
            lambda f: (write_matches(f, 0), write_matches(f, 1)), close_store, both, close_store
        ),
        "latent store, a pair": Write(
            lambda f: write_latents(f, 0),
            lambda f: write_latents(f, 1),
            store_held(latent_store),
            pair_again(latent_store, write_latents),
        ),
        "journal of a test": Write(
            lambda f: note_pair(f, 0), lambda f: note_pair(f, 1), pairs_noted, note_again
        ),
        "journal of answers": Write(
            lambda f: answer(f, 0, 1), lambda f: answer(f, 2), answers_held, answer_again
        ),
        "results, scored anew": Write(
            lambda f: score(f, 1.0), lambda f: score(f, 2.0), scores_held, lambda f: score(f, 2.0)
        ),
        "report, written anew": Write(
            lambda f: report(f, "old"), write_report, report_held, write_report
        ),
    }
