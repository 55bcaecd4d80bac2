"""Mutations of every container in little memory: equal, harmless or refused by name.

The long run is ``python tools/reliability/fuzz.py``; its table stands in docs/reliability.md.
"""

import os
import signal

import pytest
from reliability import consumers, containers, fuzz

NAMES = list(containers.containers())
TIMES = pytest.mark.parametrize("times", [60, pytest.param(2000, marks=pytest.mark.slow)])


@TIMES
@pytest.mark.parametrize("name", NAMES)
def test_nothing_escapes(name, times, tmp_path):
    tally = fuzz.fuzz(name, tmp_path, times)
    assert not tally.escapes, tally.escapes
    verdicts = tally.verdicts
    assert sum(verdicts.values()) == times and verdicts[fuzz.REFUSED] > times // 10
    assert verdicts[fuzz.EQUAL] + verdicts[fuzz.HARMLESS] > 0  # some are believed


@TIMES
def test_what_uses_them_refuses_by_name(times, tmp_path):
    """Sound containers may say nonsense: manifests, results, lists, maps, shards, checkpoints."""
    for name in consumers.consumers():
        (tmp_path / name).mkdir()
        tally = fuzz.fuzz(name, tmp_path / name, times // 4)
        assert not tally.escapes, (name, tally.escapes)


def test_what_escapes_is_counted_and_does_not_end_the_fuzz(tmp_path, monkeypatch):
    def read(path):
        data = path.read_bytes()
        if data == b"crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if data == b"large":
            return len(bytes(3 * 2**30))
        if data == b"odd":
            raise KeyError("odd")
        return data

    files = [b"whole", b"crash", b"other", b"large", b"odd"]
    odd = containers.Container(".x", lambda: b"whole", lambda data, rng: data, read)
    monkeypatch.setattr(fuzz, "subjects", lambda: {"x": odd})
    monkeypatch.setattr(fuzz, "mutation", lambda container, n, seed: files[n])
    tally = fuzz.fuzz("x", tmp_path, 5)
    assert (tally.verdicts[fuzz.EQUAL], tally.verdicts[fuzz.HARMLESS]) == (1, 1)
    assert [text.split(":")[0] for text in tally.escapes] == ["1", "3", "4"]
    assert "SIGKILL" in tally.escapes[0] and "MemoryError" in tally.escapes[1]
    assert "| x | 5 | 1 | 1 | 0 | 3 |" in fuzz.table({"x": tally})


def test_a_mutation_is_the_same_wherever_it_is_made():
    container = containers.containers()["tar"]
    assert fuzz.mutation(container, 7) == fuzz.mutation(container, 7) != container.honest()
