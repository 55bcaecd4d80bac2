"""tools/demo.py: its page from finished runs, and (slow) the whole of it in a browser."""

import importlib.util
import json
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from browser import CHROMIUM, Browser
from fake_results import fake_results

ROOT = Path(__file__).parents[2]
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page with")


def load_demo():
    spec = importlib.util.spec_from_file_location("demo", ROOT / "tools/demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def scores(shift: float) -> dict:
    return dict(
        attention_pck=0.25 + shift,
        attention_pck_chance=0.0421,
        attention_pck_queries=1234,
        garment_mass=0.3 + shift / 10,
        l1_inside=0.16 - shift / 20,
        l1_inside_fill=0.2,
        l1_inside_copy=0.05,
        share_of_the_way=0.3 + shift / 2,
        share_of_the_print=0.2 + shift / 4,
        pictures=64,
    )


SUMMARY = dict(
    shipped_baseline=scores(0.1),
    shipped_coral=scores(0.5),
    best=scores(0.6),
    baseline=scores(0.0),
    coral=scores(0.4),
    seconds=dict(training=300.0, all=480.0),
    environment=dict(machine="x86 <two & a half cores>", seed="0"),
)
COMMANDS = ["python tools/train.py a.py --cfg-options 'x<1' && echo done"]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The demo's page of made-up runs."""
    out = tmp_path_factory.mktemp("demo")
    for name in ("shipped_baseline", "shipped_coral", "best", "baseline", "coral"):
        skill = float("coral" in name)
        fake_results(out / name / "test", "dit_bold", pairs=30, skill=skill)
    load_demo().write_report(out, SUMMARY, COMMANDS, (32, 24))
    return out / "report.html"


def test_the_page_tells_the_story(page):
    text = unescape(page.read_text(encoding="utf-8"))
    wanted = ["Does attention land on the garment?", "on this machine in 5 minutes", "24x32"]
    wanted += ["65%", "25%", "4.2%", "1234 visible points", "64 held-out", "error of 0.200"]
    wanted += ["50%", "(baseline 30%)", "30%", "(baseline 20%)"]
    wanted += ["x86 <two & a half cores>", *COMMANDS, "guessing"]
    wanted += ['"name":"CORAL, shipped"', '"name":"CORAL, trained here"']
    for shown in wanted:
        assert shown in text, shown
    order = ("opening", "attention", "pairs", "scores")
    places = [text.index(f'<section id="{name}">') for name in order]
    assert places == sorted(places)
    opening = text[places[0] : places[1]]
    assert opening.count('<div class="card row">') == 6
    assert opening.count("true picture</figcaption>") == 6
    assert not page.with_name("report_files").exists()  # one file alone
    assert "shuffled" not in text


def test_the_page_opens_with_the_shipped_models_alone(tmp_path):
    shipped = {name: SUMMARY[name] for name in load_demo().SHIPPED}
    for name in shipped:
        fake_results(tmp_path / name / "test", "dit_bold", pairs=8)
        for log in (tmp_path / name).glob("2026*/vis_data/scalars.json"):
            log.unlink()  # nothing was trained here
    rest = {name: SUMMARY[name] for name in ("seconds", "environment")}
    load_demo().write_report(tmp_path, shipped | rest, COMMANDS, (32, 24))
    text = unescape((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "a pair ships with vtonlab" in text and "trained here" not in text
    assert "55%" in text and "(baseline 35%)" in text and 'id="curves"' not in text


def test_the_control_is_a_third_system(tmp_path):
    for name in load_demo().NAMES:
        fake_results(tmp_path / name / "test", "dit", pairs=4)
    summary = SUMMARY | dict(shuffled=scores(0.1))
    load_demo().write_report(tmp_path, summary, COMMANDS, (32, 24))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '"name":"shuffled control"' in text and "<b>shuffled control</b>, was told" in text


def test_time_left_is_the_runs_own_seconds_a_step_times_the_steps_left(tmp_path):
    demo = load_demo()
    logs = {name: tmp_path / f"{name}_train.log" for name in ("baseline", "coral")}
    assert demo.progress(logs, 600, 20.0) == "baseline 0/600, coral 0/600"  # nothing is known yet
    for name, pace in (("baseline", 0.5), ("coral", 2.0)):
        folder = tmp_path / name / "run/vis_data"
        folder.mkdir(parents=True)
        rows = [dict(iter=n, time=pace + (n == 100), loss=1.0) for n in (100, 150, 200)]
        lines = [json.dumps(row) for row in (*rows, dict(step=200, time=9.0, attention_pck=0.5))]
        (folder / "scalars.json").write_text("\n".join(lines) + "\n")
    # 400 steps of 2 seconds; the first rows, which include the start, no longer count
    assert demo.progress(logs, 600, 1.0).endswith("200/600, about 13.3 minutes left")


@needs_browser
def test_the_page_works_in_a_browser(page):
    with Browser() as browser:
        exercise(browser, page)


@needs_browser
@pytest.mark.slow
def test_the_whole_demo(tmp_path):
    """Trains a few steps for real, as a user types it; people come from the shared cache."""
    command = [sys.executable, "tools/demo.py", "--iterations", "8", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    systems = ["shipped_baseline", "shipped_coral", "baseline", "coral", "best"]
    assert list(summary) == [*systems, "seconds", "environment"]
    assert summary["coral"]["pictures"] == summary["shipped_coral"]["pictures"] == 64
    assert (tmp_path / "report.html").stat().st_size < 12_000_000
    with Browser() as browser:
        exercise(browser, tmp_path / "report.html")


def exercise(browser: Browser, page: Path) -> None:
    """Filter, sort, swipe and hover, at desktop and phone width; no error, no request."""
    for width, height, phone in ((1280, 900, False), (390, 844, True)):
        browser.window(width, height, phone)
        browser.open(page)
        browser.until("document.querySelectorAll('#gallery .pair').length > 0")
        assert browser.run("document.documentElement.scrollWidth") == width
        everyone = int(browser.run("$('count').innerText").split()[0])
        browser.choose("#search", browser.run("DATA.groups[0].pairs[3][0]"))
        assert browser.run("$('count').innerText") == f"1 of {everyone} pairs"
        browser.choose("#search", "")
        wins = []
        for choice in ("0,1", "1,0"):
            browser.choose("#show", choice)
            wins.append(int(browser.run("$('count').innerText").split()[0]))
        assert sum(wins) <= everyone
        browser.choose("#show", "")

        browser.click("#gallery .pair")
        left, top, wide, high = browser.box("#swipe")
        for kind in ("pressed", "released"):
            browser.mouse(kind, left + wide * 0.3, top + high / 2)
        assert abs(int(browser.run("$('swipe').getAttribute('aria-valuenow')")) - 30) <= 1
        browser.click("#viewer-close")

        browser.until("$('person').width > 100 && $('asked').innerText.length > 0")
        left, top, wide, high = browser.box("#person")
        rows, columns = browser.run("DATA.attention[0][0].systems[0].grid")
        points = browser.run("Object.keys(DATA.attention[0][0].truth).map(Number)")
        pictures = []
        for query in (points[0], points[-1]):
            x, y = (query % columns + 0.5) / columns, (query // columns + 0.5) / rows
            browser.mouse("moved", left + wide * x, top + high * y)
            asked = f"row {query // columns + 1} of {rows}, column {query % columns + 1}"
            assert asked in browser.run("$('asked').innerText")
            said = browser.run("[$('say-0').innerText, $('say-1').innerText]")
            assert all("right place" in text or "cells off" in text for text in said)
            pictures.append(browser.run("$('heat-1').toDataURL()"))
        assert pictures[0] != pictures[1]
    assert not browser.errors
    asked = [url for url in browser.requests if not url.startswith("data:")]
    assert set(asked) == {page.resolve().as_uri()}
