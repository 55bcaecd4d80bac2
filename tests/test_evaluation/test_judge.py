"""The judge against a server over real HTTP: planted scores, bad answers, a death half way."""

import importlib
import json
import sys
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from judge_server import JudgeServer, planted_picture
from PIL import Image

from vtonlab.evaluation.judge import (
    CRITERIA,
    Judge,
    JudgeSettings,
    LocalModel,
    OpenAIEndpoint,
    parse_answer,
    summarise,
)
from vtonlab.evaluation.judge.endpoints import NoAnswer, Unusable
from vtonlab.evaluation.judge.rubric import ORDERS
from vtonlab.evaluation.results import read_results, write_results

ROOT = Path(__file__).parents[2]
PLANTED = [1, 2, 3, 4, 5, 3, 4, 2]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A results folder whose pictures carry planted scores."""
    rows = []
    for number, score in enumerate(PLANTED):
        row = {"id": f"p{number}", "garment_id": f"g{number}", "category": "dresses"}
        for key, value in (("person", number / 3), ("garment", 4), ("scored", score)):
            name = f"{key}_{number}.png"
            Image.fromarray(planted_picture(value)).save(tmp_path / name)
            row[f"{key}_file"] = name
        rows.append(row | {"index": number})
    write_results(tmp_path, {"system": "planted", "setting": "unpaired"}, rows)
    return tmp_path


def judge(folder, server, **settings) -> Judge:
    endpoint = OpenAIEndpoint(server.base, "planted", timeout_s=0.7)
    settings = dict(repeats=2, control=0.5, workers=3) | settings
    return Judge(read_results(folder), endpoint, JudgeSettings(**settings))


def test_planted_scores_come_back(folder):
    with JudgeServer() as server:
        asked = judge(folder, server)
        asked.run()
        summary = summarise(asked)
    assert summary["answered"] == summary["asked"] == len(server.asked)
    for name in CRITERIA:
        found = summary["criteria"][name]
        assert found["mean"] == pytest.approx(np.mean(PLANTED))
        assert found["ci95"][0] < np.mean(PLANTED) < found["ci95"][1]
        assert found["agreement_alpha"] == pytest.approx(1)
        assert found["exact_agreement"] == 1 and found["order_gap"] == 0
    pairs = [summary["per_pair"][f"p{n}__g{n}"]["fit_and_pose"] for n in range(len(PLANTED))]
    assert pairs == PLANTED


@pytest.mark.parametrize(
    "bad", [dict(tries=0), dict(repeats=0), dict(limit=0), dict(workers=-1), dict(control=1.5)]
)
def test_settings_that_ask_nothing(bad):
    (name, value), *_ = bad.items()
    with pytest.raises(ValueError, match=f"^{name}={value}: "):
        JudgeSettings(**bad)
    with pytest.raises(ValueError, match="--timeout 0: seconds, more than 0"):
        OpenAIEndpoint("http://localhost:1/v1", "m", timeout_s=0)


def test_agreement_and_order_gap_are_those_planted(folder):
    """Second repeat one lower for odd scores; one higher in any other order of the pictures."""

    def alter(score, criterion, seed, order):
        shifted = score + (order != ORDERS[0])
        return min(5, max(1, shifted - (seed == 1 and score % 2 == 1)))

    with JudgeServer(alter=alter) as server:
        asked = judge(folder, server, control=1.0)
        asked.run()
        found = summarise(asked)["criteria"]["garment_transfer"]
    fixed = [(s, alter(s, "", 1, ORDERS[0])) for s in PLANTED]
    assert found["mean"] == pytest.approx(np.mean(fixed))
    assert found["exact_agreement"] == pytest.approx(np.mean([a == b for a, b in fixed]))
    gaps = [min(5, a + 1) - (a + b) / 2 for a, b in fixed]
    assert found["order_gap"] == pytest.approx(np.mean(gaps))
    assert found["order_gap_ci95"][0] > 0  # the judge looks at the order, and it shows
    assert 0 < found["agreement_alpha"] < 1


@pytest.mark.parametrize("trick", ["wrong", "float", "malformed", "other", "busy", "cut", "slow"])
def test_a_bad_answer_is_asked_again(folder, trick):
    with JudgeServer(mischief=[trick]) as server:
        asked = judge(folder, server, limit=2, repeats=1, control=0)
        asked.run()
        summary = summarise(asked)
    assert not summary["failed"] and summary["answered"] == 6
    assert summary["criteria"]["fit_and_pose"]["mean"] == np.mean([PLANTED[0], PLANTED[-1]])


def test_answers_that_stay_bad_are_counted_and_asked_next_time(folder):
    with JudgeServer(mischief=["malformed", "wrong", "malformed"]) as server:
        asked = judge(folder, server, limit=1, repeats=1, control=0, workers=1)
        asked.run()
        summary = summarise(asked)
        assert summary["answered"] == 2 and len(summary["failed"]) == 1
        [why] = summary["failed"].values()
        assert "no JSON object" in why
        again = judge(folder, server, limit=1, repeats=1, control=0, workers=1)
        again.run()
        assert summarise(again)["answered"] == 3 and not summarise(again)["failed"]


def test_nothing_is_lost_when_the_server_dies(folder):
    with JudgeServer(die_after=11) as server:
        asked = judge(folder, server, tries=1, give_up=2)
        with pytest.raises(
            Unusable, match=r"11 of \d+ answers are saved, the same command goes on"
        ):
            asked.run()
    lines = (folder / "judge_answers.jsonl").read_text().splitlines()
    assert len(lines) == 11 and all(json.loads(line)["score"] for line in lines)
    with open(folder / "judge_answers.jsonl", "a") as file:
        file.write('{"key": "cut in the mid')  # a process that died while it wrote
    with JudgeServer() as server:
        again = judge(folder, server)
        assert len(again.answers) == 11
        again.run()
        assert len(server.asked) == len(again.questions) - 11  # none twice
    summary = summarise(again)
    assert summary["answered"] == summary["asked"]
    assert summary["criteria"]["garment_transfer"]["mean"] == pytest.approx(np.mean(PLANTED))
    with JudgeServer() as server:
        third = judge(folder, server)
        third.run()
        assert not server.asked and summarise(third)["per_pair"] == summary["per_pair"]


def test_changed_pictures_are_asked_anew(folder):
    with JudgeServer() as server:
        judge(folder, server, repeats=1, control=0).run()
        Image.fromarray(planted_picture(5)).save(folder / "scored_0.png")
        again = judge(folder, server, repeats=1, control=0)
        assert {q.pair for q in again.open_questions()} == {"p0__g0"}


def test_a_refused_key_stops_at_once_and_is_sent_only_there(folder, monkeypatch):
    monkeypatch.setenv("VTONLAB_JUDGE_KEY", "secret")
    with JudgeServer(refuse=401) as server:
        with pytest.raises(Unusable, match=r"401.*VTONLAB_JUDGE_KEY"):
            judge(folder, server, workers=1).run()
        assert server.keys == ["Bearer secret"]
    assert not (folder / "judge_answers.jsonl").is_file()


def test_nobody_listens(folder):
    with JudgeServer() as server:
        pass
    with pytest.raises(Unusable, match="questions in a row had no answer"):
        judge(folder, server, tries=1, give_up=2).run()
    with pytest.raises(NoAnswer, match="did not answer"):
        OpenAIEndpoint(server.base, "m").ask("", [], "", 0)


def run_judge_tool(monkeypatch, *arguments) -> int:
    from vtonlab.engine.cli import run_tool

    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    tool = importlib.import_module("judge")
    monkeypatch.setattr(sys, "argv", ["judge.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        run_tool(tool.main)
    return end.value.code


def test_the_cost_comes_first(folder, monkeypatch, capsys):
    with JudgeServer() as server:
        arguments = [folder, "--endpoint", server.base, "--model", "planted", "--limit", 3]
        arguments += ["--repeats", 1, "--control", 0]
        assert run_judge_tool(monkeypatch, *arguments, "--price-in", 1, "--price-out", 10) == 0
        printed = capsys.readouterr().out
        assert "9 calls to planted" in printed and "nothing was sent" in printed
        assert not server.asked and not (folder / "judge.json").is_file()
        assert run_judge_tool(monkeypatch, *arguments, "--yes") == 0
        assert len(server.asked) == 9
    saved = json.loads((folder / "judge.json").read_text())
    assert saved["pairs"] == 3 and len(saved["rubric_sha256"]) == 64
    with JudgeServer(refuse=403) as server:
        arguments = [folder, "--endpoint", server.base, "--model", "other", "--yes"]
        assert run_judge_tool(monkeypatch, *arguments) == 2
        assert "403" in capsys.readouterr().err


def test_bad_input(folder):
    with pytest.raises(ValueError, match="no http"):
        OpenAIEndpoint("localhost:8000", "m")
    with pytest.raises(Unusable, match=r"--local .*nothing-here"):
        LocalModel(str(folder / "nothing-here")).ask("", [], "", 0)
    (folder / "scored_3.png").unlink()
    with JudgeServer() as server, pytest.raises(ValueError, match="RESULT picture of pair p3"):
        judge(folder, server)


@pytest.mark.parametrize(
    "text", ["", "4", "[4]", '{"score": "4"}', '{"score": true}', '{"score": 0}', '{"reason": "x"}']
)
def test_answers_that_are_none(text):
    with pytest.raises(ValueError):
        parse_answer(text, "fit_and_pose")


def test_a_code_fence_is_forgiven():
    assert parse_answer('```json\n{"score": 4, "reason": "ok"}\n```', "fit_and_pose") == (4, "ok")


SECRET = "judge-key-9c1e"


@contextmanager
def answering(code: int, body: bytes, headers: dict | None = None, slow: bool = False):
    """A server that gives one answer to everything; yields its base address and what it got."""
    got: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            got.append((self.command, self.headers.get("Authorization")))
            self.send_response(code)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):
                for place in range(0, len(body), 1 if slow else len(body) or 1):
                    self.wfile.write(body[place : place + 1] if slow else body)
                    time.sleep(0.05 if slow else 0)

        do_GET = do_POST  # noqa: N815 - the name http.server calls

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", got
    finally:
        server.shutdown()
        server.server_close()


def said(content) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}}]}).encode()


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_the_key_goes_to_the_given_address_alone(code, monkeypatch):
    monkeypatch.setenv("VTONLAB_JUDGE_KEY", SECRET)
    with answering(200, said("five")) as (other, stolen):
        location = {"Location": f"{other}/chat/completions?{SECRET}"}
        with answering(code, b"", location) as (base, got):
            with pytest.raises(Unusable, match="points to") as told:
                OpenAIEndpoint(base, "m", timeout_s=2).ask("", [], "", 0)
    assert got == [("POST", f"Bearer {SECRET}")] and not stolen
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":' + b"[" * 200_000,
        said(None),
        said([SECRET]),
        said({"a": 1}),
        b"x" * (2**20 + 1),
        SECRET.encode(),
        b'"' + SECRET.encode() + b'"',
        b"\xff\xfe",
    ],
    ids=["deep", "null", "list", "object", "large", "echo", "echo in JSON", "bytes"],
)
@pytest.mark.parametrize("code", [200, 401, 503])
def test_hostile_replies_are_one_sentence_without_the_key(code, body, monkeypatch):
    monkeypatch.setenv("VTONLAB_JUDGE_KEY", SECRET)
    with answering(code, body) as (base, _):
        with pytest.raises((NoAnswer, Unusable)) as told:
            OpenAIEndpoint(base, "m", timeout_s=5).ask("", [], "", 0)
    assert SECRET not in str(told.value) and len(str(told.value)) < 500


def test_an_echoed_key_is_not_kept_in_answers(monkeypatch):
    monkeypatch.setenv("VTONLAB_JUDGE_KEY", SECRET)
    with answering(200, said(f"Bearer {SECRET}")) as (base, _):
        assert OpenAIEndpoint(base, "m").ask("", [], "", 0) == "Bearer [key]"


def test_a_reply_that_drips_is_given_up():
    with answering(200, b" " * 2000, slow=True) as (base, _):
        with pytest.raises(NoAnswer, match="took more than"):
            OpenAIEndpoint(base, "m", timeout_s=0.4).ask("", [], "", 0)


def test_keys_and_addresses_that_cannot_be_are_not_told(monkeypatch):
    monkeypatch.setenv("VTONLAB_JUDGE_KEY", f"{SECRET}\nX-Other: 1")
    with pytest.raises(Unusable, match="characters") as told:
        OpenAIEndpoint("http://127.0.0.1:9/v1", "m").ask("", [], "", 0)
    assert SECRET not in str(told.value)
    with pytest.raises(ValueError, match="VTONLAB_JUDGE_KEY") as told:
        OpenAIEndpoint(f"http://me:{SECRET}@host/v1", "m")
    assert SECRET not in str(told.value)
