"""What the tabs do when they are asked, without a page: Gradio is a stand-in that nothing is asked
of but that parts stay as they are.
"""

import sys
import threading
from importlib import import_module
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest

from vtonlab.studio.context import Studio
from vtonlab.studio.sessions import Sessions
from vtonlab.studio.settings import Settings

NAMES = [f"vtonlab.studio.{name}" for name in ("parts", "try_on", "batch", "look")]
ANNA = SimpleNamespace(session_hash="anna")
SAME = "as it is"


@pytest.fixture
def tabs(monkeypatch):
    """The modules of the tabs by name."""
    gradio = MagicMock()
    gradio.skip = lambda: SAME
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield SimpleNamespace(**{name.rpartition(".")[2]: import_module(name) for name in NAMES})
    for name in NAMES:
        del sys.modules[name]


class Toys(dict):
    """A shelf of models that only say what they are asked."""

    lock, preparation = threading.RLock(), None

    def calls(self, name, num_steps):
        return num_steps


@pytest.fixture
def studio():
    made = Studio(Toys(), Settings(pairs=3), Sessions(Settings()))
    made.sessions.uploads.mkdir()
    yield made
    made.sessions.close()


def bare(kind, studio):
    """A tab whose parts are their names."""

    class Bare(kind):
        def __init__(self):
            self.studio = studio

        def __getattr__(self, name):
            return name

    return Bare()


def grey(value):
    return np.full((8, 6, 3), value, np.uint8)


@pytest.fixture
def trying(tabs, studio, monkeypatch):
    """The tab to try on: photographs are grey, as their path says, and their masks too."""
    tab = bare(tabs.try_on.TryOn, studio)
    tab.meanwhile, tab.prepared = {}, []  # what comes while a photo is read or its area made
    tab.rendered = SimpleNamespace(
        person=grey(200), garment=grey(201), category="dresses", mask=grey(202)[..., 0],
        pose=grey(203), parse=grey(204)[..., 0], keypoints=grey(205)[..., 0],
    )  # fmt: skip

    def photograph(path, settings):
        tab.meanwhile.pop("read", lambda: None)()
        return grey(int(path))

    def prepare(photo, garment, category, **_):
        tab.prepared.append((int(photo[0, 0, 0]), category))
        tab.meanwhile.pop("made", lambda: None)()
        mask = photo[..., 0] + (category == "dresses")
        return SimpleNamespace(mask=mask, pose=photo, warnings=())

    monkeypatch.setattr(tabs.try_on, "photograph", photograph)
    monkeypatch.setattr(tabs.try_on, "prepare", prepare)
    monkeypatch.setattr(tabs.try_on, "examples", lambda: [tab.rendered])
    monkeypatch.setattr(tabs.try_on, "example", lambda number: tab.rendered)
    tab.pick = lambda: tab.take_example(SimpleNamespace(index=0), ANNA)
    studio.shelf["toy"] = SimpleNamespace(maps=("mask", "pose"))
    return tab


def test_the_area_of_a_person_that_was_replaced_is_dropped(trying, studio):
    assert trying.take_person("1", "upper_body", ANNA) == (SAME, None, "", "")
    trying.meanwhile["made"] = trying.pick
    assert trying.make_area("toy", ANNA) == (SAME,) * 4
    person = studio.of(ANNA).person
    assert (person.photo is trying.rendered.person) and person.category == "dresses"
    assert person.maps == dict(mask=trying.rendered.mask, pose=trying.rendered.pose)
    assert trying.make_area("toy", ANNA) == (SAME,) * 4  # it was asked for the person before
    assert trying.prepared == [(1, "upper_body")]


def test_a_photograph_that_is_read_too_late_is_dropped(trying, studio):
    trying.meanwhile["read"] = trying.pick
    assert trying.take_person("1", "upper_body", ANNA) == (SAME,) * 4
    assert studio.of(ANNA).person.photo is trying.rendered.person
    trying.meanwhile["read"] = lambda: trying.take_category("dresses", ANNA)
    trying.take_person("2", "upper_body", ANNA)  # the same person still
    assert trying.make_area("toy", ANNA)[1] is not None
    assert trying.prepared == [(2, "dresses")]


def test_a_garment_that_is_read_too_late_is_dropped(trying, studio):
    trying.meanwhile["read"] = trying.pick
    assert trying.take_garment("1", ANNA) == (SAME,) * 2
    assert studio.of(ANNA).garment.photo is trying.rendered.garment
    assert trying.take_garment(None, ANNA) == (SAME, "")
    assert studio.of(ANNA).garment.photo is None


def test_another_kind_of_garment_gets_its_own_area(trying, studio):
    trying.take_person("1", "upper_body", ANNA)
    trying.meanwhile["made"] = lambda: trying.take_category("dresses", ANNA)
    assert trying.make_area("toy", ANNA) == (SAME,) * 4
    assert trying.make_area("toy", ANNA)[1:] != (SAME,) * 3
    assert trying.prepared == [(1, "upper_body"), (1, "dresses")]
    assert (studio.of(ANNA).person.maps["mask"] == 2).all()


def test_what_was_in_hand_at_the_click_is_drawn(trying, studio):
    asked = []

    def sample(*given, pose):
        asked.extend([*given, pose])
        raise ValueError("seen")

    studio.shelf["toy"].sample = sample
    trying.take_person("1", "upper_body", ANNA)
    trying.take_garment("7", ANNA)
    trying.begin(ANNA)
    trying.make_area("toy", ANNA)
    trying.pick()
    told = list(trying.draw(None, "upper_body", "toy", 1, 0, 1.0, True, ANNA))
    assert "seen" in told[-1]["problem"]
    person, garment, mask, category, pose = asked
    assert category == "upper_body" and mask.all()
    assert [int(part.max()) for part in (person, garment, pose)] == [1, 7, 1]


@pytest.fixture
def batch(tabs, studio, monkeypatch):
    """The tab of batches, which reads its files and draws nothing."""

    def run(self, session, *_):
        yield dict(drawn=[pair.person.read_bytes() for pair in session.batch.pairs])

    monkeypatch.setattr(tabs.batch.BatchTab, "_run", run)
    tab = bare(tabs.batch.BatchTab, studio)

    def draw(people, garments):
        return list(tab.draw(people, garments, None, "upper_body", "toy", 1, 0, ANNA))[-1]

    tab.ask = draw
    return tab


def uploaded(studio, *names):
    """What a place to drop files on says of them; each holds its own name."""
    for name in names:
        (studio.sessions.uploads / name).write_bytes(name.encode())
    return [dict(name=name, path=str(studio.sessions.uploads / name)) for name in names]


def test_after_a_broken_upload_the_files_before_it_start_again(batch, studio):
    people, garments = uploaded(studio, "a.png", "b.png"), uploaded(studio, "g.png")
    drawn = dict(drawn=[b"a.png", b"b.png"])
    assert batch.ask(people, garments) == drawn
    job = studio.of(ANNA).batch
    assert batch.ask(people, garments) == drawn and studio.of(ANNA).batch is job  # it goes on
    assert "set.zip" in batch.ask(uploaded(studio, "set.zip"), garments)["problem"]
    assert batch.ask(people, garments) == drawn and studio.of(ANNA).batch is not job


def test_after_an_example_that_could_not_be_written_it_starts_again(batch, studio, monkeypatch):
    def write(folder):
        if full:
            raise OSError("no space")
        (folder / "a.png").write_bytes(b"a")
        (folder / "pairs.csv").write_text("person,garment\na.png,a.png\n")
        return folder / "pairs.csv"

    monkeypatch.setattr(sys.modules["vtonlab.studio.batch"], "write_example", write)
    full = False
    assert list(batch.draw_example("toy", 1, 0, ANNA)) == [dict(drawn=[b"a"])]
    full = True
    with pytest.raises(OSError, match="no space"):
        list(batch.draw_example("toy", 2, 0, ANNA))
    full = False
    assert list(batch.draw_example("toy", 1, 0, ANNA)) == [dict(drawn=[b"a"])]


def test_too_many_pairs_are_refused_before_one_is_made(batch, studio, monkeypatch):
    monkeypatch.setattr("vtonlab.apis.folder_job.Pair", None)
    people, garments = (
        uploaded(studio, "a.png", "b.png"),
        uploaded(studio, "g.png", "h.png", "i.png"),
    )
    assert "6 pairs; 3 are taken at once" in batch.ask(people, garments)["problem"]


def test_only_the_last_readings_of_a_result_are_kept(tabs, studio):
    read = []

    def look(result, *, layer, sigma, seed):
        read.append((layer, sigma))
        return SimpleNamespace(layer=layer or "first", sigma=sigma)

    studio.shelf["toy"] = SimpleNamespace(look=look)
    tab, session = bare(tabs.look.LookTab, studio), studio.of(ANNA)
    session.drawn = SimpleNamespace(result=None, receipt=SimpleNamespace(settings=dict(seed=0)))
    for layer in (None, "second"):  # one that stands under two questions, and under one
        asked = [(layer, number / 100) for number in range(20)]
        for question in asked:
            found = tab._look(session, "toy", *question)
            assert (found.layer, found.sigma) == (layer or "first", question[1])
            assert len(session.looks) <= tabs.look.KEPT
        assert read == asked
        tab._look(session, "toy", *asked[-1])
        tab._look(session, "toy", *asked[-4])
        assert read == asked  # kept
        tab._look(session, "toy", *asked[0])
        assert read == [*asked, asked[0]]
        read.clear()
