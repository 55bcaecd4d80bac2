"""Cut writes: a SIGKILL at a system call, a full disk, a read-only folder, two runs, a clock that
goes back, a file that is replaced. ``tools/reliability/faults.py`` cuts at every second call.
"""

import os
from pathlib import Path

import pytest
import torch
from reliability import calls, faults
from reliability.meanwhile import held
from reliability.writes import Write, save_steps, writes

from vtonlab.engine.checkpoints.files import find_latest
from vtonlab.structures.correspondences import Correspondences
from vtonlab.structures.match_store import MatchStore

WRITES = writes()
needs_tracing = pytest.mark.skipif(not calls.can_trace(), reason="no tracing of children here")


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@needs_tracing
@pytest.mark.parametrize("name", WRITES)
def test_a_kill_at_a_call_loses_nothing(name, tmp_path):
    outcome = faults.killed(faults.Scene(WRITES[name], tmp_path / "scene"), 1, most=3)
    assert outcome.points >= 2 and not outcome.wrong, outcome.wrong


@pytest.mark.parametrize("name", WRITES)
def test_a_full_disk_and_a_read_only_folder_are_sentences(name, tmp_path):
    told = faults.faults_of(WRITES[name], tmp_path, disk_too=False)
    for text in told.values():
        assert str(tmp_path) in text and "could not be written" in text, text
    assert "may not be written to" in told["read-only"] and "bytes are free" in told["full"]


@needs_tracing
def test_a_torn_write_is_found(tmp_path):
    """The measurement itself: a file written in place is torn by some kill."""

    def write(folder: Path) -> None:
        with open(folder / "a", "w", buffering=1) as file:
            for letter in "new":
                file.write(f"{letter}\n")

    def held(folder: Path) -> dict:
        return {"a": (folder / "a").read_text()}

    torn = Write(lambda folder: (folder / "a").write_text("old"), write, held, write)
    outcome = faults.killed(faults.Scene(torn, tmp_path / "scene"), 1)
    assert any("lost: a" in text for text in outcome.wrong)
    (tmp_path / "x").mkdir()
    assert "WRONG" in faults.faults_of(torn, tmp_path / "x", disk_too=False)["read-only"]


def test_calls_are_counted_and_the_work_is_killed_before_the_call(tmp_path):
    if not calls.can_trace():
        pytest.skip("no tracing of children here")

    def work() -> None:
        for number in range(3):
            os.mkdir(tmp_path / str(number))

    total = calls.killed_at(work, 1 << 60)
    assert total >= 3 and len(list(tmp_path.iterdir())) == 3
    for number in range(3):
        (tmp_path / str(number)).rmdir()
    counts = []
    for call in range(1, total + 1):
        assert calls.killed_at(work, call) is None
        made = list(tmp_path.iterdir())
        counts.append(len(made))
        for path in made:
            path.rmdir()
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] >= 2
    with pytest.raises(RuntimeError, match="99 by itself"):
        calls.killed_at(lambda: 1 / 0, 1 << 60)


def test_a_clock_that_goes_back_hides_no_checkpoint(tmp_path):
    save_steps(tmp_path, 1, 2)
    ahead = os.stat(tmp_path / "iter_2.pth").st_mtime + 86400
    for step in (1, 2):  # as they would be had the clock been a day ahead until now
        os.utime(tmp_path / f"iter_{step}.pth", (ahead + step, ahead + step))
    save_steps(tmp_path, 3)
    assert find_latest(tmp_path) == tmp_path / "iter_3.pth"
    save_steps(tmp_path, 1)  # a run begun anew in a used folder resumes its own
    assert find_latest(tmp_path) == tmp_path / "iter_1.pth"


def test_a_photograph_replaced_in_mid_run_is_noticed(tmp_path):
    matches = {"matcher": {"type": "SIFTMatcher"}, "root": str(tmp_path / "matches")}
    store = MatchStore.create(matches, tmp_path, "train", {})
    photos = {name: tmp_path / f"{name}.jpg" for name in ("person", "garment")}
    for photo in photos.values():
        photo.write_bytes(photo.name.encode())
    points = torch.tensor([[0.5, 0.5]])
    store.write("p", "g", Correspondences(points, points, torch.ones(1)), photos)
    assert len(store.read("p", "g", photos)) == 1
    photos["garment"].write_bytes(b"another garment")
    with pytest.raises(ValueError, match=r"garment\.jpg has changed since its matches were made"):
        store.read("p", "g", photos)
    photos["garment"].write_bytes(b"garment.jpg")
    assert len(store.read("p", "g", photos)) == 1


def test_two_runs_in_one_folder_are_told_of_each_other(tmp_path, monkeypatch):
    """Each job that fills a folder takes its lock first, and says who holds it."""
    from vtonlab.apis.folder_job import try_on_folder
    from vtonlab.estimators.folder import prepare_photographs
    from vtonlab.evaluation.evaluate import evaluate_folder
    from vtonlab.evaluation.judge import Judge

    for name in ("open_truth", "wanted_maps", "check_predictions"):
        monkeypatch.setattr(f"vtonlab.evaluation.evaluate.{name}", lambda *_: None)
    judge = Judge.__new__(Judge)  # whose constructor asks for pictures
    judge.path = tmp_path / "judge_answers.jsonl"
    jobs = [
        ("--out", lambda: try_on_folder(None, [], tmp_path, settings={})),
        ("--out", lambda: prepare_photographs([], tmp_path, None)),
        ("--out", lambda: evaluate_folder("", {}, None, "paired", tmp_path)),
        ("results folder", judge.run),
    ]
    with held(tmp_path) as pid:
        for option, job in jobs:
            with pytest.raises(ValueError, match=rf"in use by process {pid} on .*{option}"):
                job()
