"""The judge's key goes to its endpoint and nowhere else; a call ends in time, however slow."""

import base64
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))  # the package `reliability`
from reliability import judging

from vtonlab.evaluation.judge.endpoints import forms


@pytest.mark.parametrize("part", ["status", "header", "body"])
def test_an_answer_a_byte_at_a_time_is_given_up(part):
    """Each byte comes sooner than any time-out of a socket; the server would go on for 20 s."""
    with judging.serving(judging.drip(part)) as base:
        assert "it took more than 0.3 s" in judging.asked(base, 0.3)


def test_an_answer_in_time_is_an_answer():
    def serve(connection, stop):
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(judging.GOOD)}\r\n\r\n"
        connection.sendall((head + judging.GOOD).encode())

    with judging.serving(serve) as base:
        assert judging.asked(base, 20) == '{"score": 3, "reason": "fair"}'


def test_no_file_holds_the_key(tmp_path):
    seen = judging.judged(tmp_path / "results")
    assert set(seen) == {judging.KEY}
    assert judging.with_key(tmp_path) == []
    written = (tmp_path / "results/judge_answers.jsonl").read_text()
    assert "your key is [key], or " in written
    log = (tmp_path / "results/output.log").read_text()
    assert "[key]" in log or "answers; written to" in log


def test_every_form_of_the_key_is_searched_for(tmp_path):
    key = judging.KEY
    written = [key, quote(key, safe=""), f'"{key}"'.replace('"c', '\\"c')]
    written += [base64.b64encode(b"x" * n + key.encode() + b"yy").decode() for n in range(4)]
    for number, text in enumerate(written):
        (tmp_path / str(number)).write_text(f"a {text} b")
    assert len(judging.with_key(tmp_path)) == len(written)
    assert forms("") == [] and all(forms(key))
