"""What is said before a studio serves, and what runs in its threads."""

import asyncio
import os
import shutil
import sys
import threading
from types import SimpleNamespace

import pytest

from vtonlab.apis.watching import Stopped
from vtonlab.studio.jobs import Done, watched
from vtonlab.studio.models import Shelf
from vtonlab.studio.server import _swept, make_app
from vtonlab.studio.sessions import Session, Sessions
from vtonlab.studio.settings import Settings


@pytest.fixture
def app(monkeypatch):
    """`tools/app.py`'s main."""
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    from tools.app import main

    monkeypatch.delenv("VTONLAB_STUDIO_PASSWORD", raising=False)
    return main


def test_bad_settings_are_refused_before_anything_is_loaded(app, monkeypatch):
    for arguments, words in (
        (["--host", "0.0.0.0"], "set a password"),
        (["--port", "70000"], "below 65536"),
        (["--max-upload", "0"], "at least 1"),
        (["--checkpoint", "a.pth"], "one --model"),
        (["--model", "no_such_model"], "no_such_model"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            app(arguments)
    monkeypatch.setenv("VTONLAB_STUDIO_PASSWORD", "short")
    with pytest.raises(ValueError, match="shorter than"):
        app([])


def test_without_gradio_the_line_that_installs_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ImportError, match=r"pip install 'vtonlab\[app\]'"):
        make_app(Shelf(), Settings())
    assert not list(tmp_path.iterdir())


def test_models_are_chosen_by_the_name_they_were_started_with():
    shelf = Shelf()
    assert shelf.usual == "coral_unet_synthetic" and "baseline_synthetic" in shelf.offers
    for name in ("../x", "/etc/passwd", "work_dirs/run"):
        with pytest.raises(ValueError, match="no model"):
            shelf[name]
    assert shelf.of_receipt(shelf.identity_of("baseline_synthetic")) == "baseline_synthetic"
    with pytest.raises(ValueError, match="start the studio with --model"):
        shelf.of_receipt(dict(name="other", sha256="0" * 64))


def test_a_model_of_ones_own_is_not_lost_behind_a_shipped_one_of_its_name(monkeypatch):
    monkeypatch.setattr("vtonlab.studio.models.TryOnInferencer", lambda *_, **__: object())
    shelf = Shelf(["runs/coral_unet_synthetic", "a/mine", "b/mine"])
    assert shelf.usual == "coral_unet_synthetic 2"
    assert shelf.offers[shelf.usual].model == "runs/coral_unet_synthetic"
    assert shelf.offers["coral_unet_synthetic"].model == "coral_unet_synthetic"
    assert [shelf.offers[name].model for name in ("mine", "mine 2")] == ["a/mine", "b/mine"]
    assert Shelf(["baseline_synthetic"]).usual == "baseline_synthetic"
    folders = ["a/my run", "b/my run", "a/x", "b/x", "c/x 2"]
    assert {offer.model for offer in Shelf(folders).offers.values()} >= set(folders)


def test_work_that_tells_nothing_for_long_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("vtonlab.studio.jobs._WAIT", 0.01)
    session = Session(tmp_path)
    session.begin()
    told = list(watched(session, lambda tell, stopped: threading.Event().wait(0.05) or "answer"))
    assert told == [Done("answer")]


@pytest.mark.parametrize("look", [Sessions.stored, Sessions.sweep])
def test_what_goes_while_it_is_looked_at_is_passed_over(look, monkeypatch):
    """Another thread removes a folder before it is listed, and a file after it was."""
    sessions = Sessions(Settings())
    sessions.uploads.mkdir()
    kept, folder, file = (sessions.root / name for name in ("kept", "files/a", "files/b/file"))
    for path in (kept, folder / "file", file):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"12345")
        os.utime(path, (0, 0))
    listed, is_file = os.scandir, type(file).is_file

    def scandir(path):
        if path == str(folder):
            shutil.rmtree(folder)
        return listed(path)

    def seen(path):
        found = is_file(path)
        if path == file:
            file.unlink()
        return found

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", scandir)
        patched.setattr(type(file), "is_file", seen)
        assert look(sessions) in (5, None)
    assert not folder.exists() and not file.exists() and kept.read_bytes() == b"12345"
    sessions.close()


def test_sweeping_goes_on_after_an_error(monkeypatch, caplog):
    monkeypatch.setattr("vtonlab.studio.server._SWEEP", 0.001)
    rounds, second, closed = [], threading.Event(), threading.Event()

    def sweep():
        rounds.append(len(rounds))
        if rounds == [0]:
            raise OSError("no such disk")
        second.set()

    async def serve():
        async with _swept(SimpleNamespace(sweep=sweep, close=closed.set))(None):
            return await asyncio.to_thread(second.wait, 10)

    assert asyncio.run(serve()) and closed.is_set()
    assert "idle visitors were not swept" in caplog.text and "no such disk" in caplog.text


def test_work_tells_ends_and_is_stopped(tmp_path):
    session = Session(tmp_path)
    session.begin()
    told = list(watched(session, lambda tell, stopped: [tell(1), tell(2), "answer"][-1]))
    assert told[-1] == Done("answer") and set(told[:-1]) <= {1, 2} and not session.running

    def refuse(tell, stopped):
        raise ValueError("no")

    session.begin()
    with pytest.raises(ValueError, match="no"):
        list(watched(session, refuse))

    def until_stopped(tell, stopped):
        tell("begun")
        while not stopped():
            threading.Event().wait(0.001)
        raise Stopped

    session.begin()
    running = watched(session, until_stopped)
    assert next(running) == "begun" and session.running
    session.stop.set()
    assert list(running) == [Done()]
    session.begin()
    session.stop.set()  # while it waits for its turn
    assert list(watched(session, refuse)) == [Done()]
    session.begin()
    running = watched(session, until_stopped)
    next(running)
    session.begin()  # a second click
    session.stop.set()
    assert list(running) == [Done()]
    session.begin()
    left = watched(session, until_stopped)
    next(left)
    left.close()  # the page is gone
    assert not session.running and not session.stop.is_set()  # what else was begun goes on
