"""The demo's page: one file that works offline, with the numbers it was given."""

import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from vtonlab.evaluation.report.demo import MODELS, SCORES, Curves, Exhibit, build_page
from vtonlab.evaluation.report.pictures import data_url, packed_maps

GRID = (4, 3)
CHROMIUM = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)


def scores(shift: float) -> dict:
    return dict(
        attention_pck=0.25 + shift,
        attention_pck_any_layer=0.5 + shift,
        attention_pck_chance=0.0421,
        attention_pck_queries=1234,
        garment_mass=0.3 + shift / 10,
        l1_inside=0.16 - shift / 20,
        l1_inside_fill=0.2,
        ssim_inside=0.5 + shift / 3,
        psnr_outside=21.5 + shift,
        pictures=64,
    )


SUMMARY = dict(
    baseline=scores(0.0),
    coral=scores(0.4),
    seconds=dict(training=300.0, all=480.0),
    environment=dict(machine="x86 <two & a half cores>", seed="0"),
)


def exhibit(number: int) -> Exhibit:
    rng = np.random.default_rng(number)
    picture = lambda: rng.integers(0, 256, (32, 24, 3), dtype=np.uint8)  # noqa: E731
    tokens = GRID[0] * GRID[1]
    maps = {name: rng.dirichlet(np.ones(tokens), tokens).astype(np.float32) for name in MODELS}
    return Exhibit(
        person=picture(),
        agnostic=picture(),
        garment=picture(),
        outputs={name: picture() for name in MODELS},
        maps=maps,
        truth=rng.uniform(size=(tokens, 2)).astype(np.float32),
        visible=rng.uniform(size=tokens) < 0.5,
        grid=GRID,
    )


@pytest.fixture(scope="module")
def page() -> str:
    curves = {
        name: Curves(loss=[(50, 1.0), (100, 0.5)], pck=[(50, 0.1), (100, 0.4)]) for name in MODELS
    }
    commands = ["python tools/train.py a.py --cfg-options 'x<1' && echo done"]
    return build_page(SUMMARY, [exhibit(n) for n in range(3)], curves, commands, explored=2)


class Reader(HTMLParser):
    """Tags that stay open, attributes that load something, and the visible text."""

    VOID = {"meta", "img", "br", "link", "input", "hr", "line"}

    def __init__(self) -> None:
        super().__init__()
        self.open, self.loaded, self.text, self.tags = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.loaded += [v for k, v in attrs if k in ("src", "href", "srcset", "action", "data")]

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)


@pytest.fixture(scope="module")
def parsed(page) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def test_is_one_well_formed_file(page, parsed):
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert parsed.open == []
    assert not re.findall(r"__[A-Z]+__", page)  # every placeholder is filled
    assert {"h1", "table", "svg", "canvas", "script"} <= set(parsed.tags)


def test_needs_nothing_from_elsewhere(page, parsed):
    assert not re.search(r"(https?:)?//[\w-]+\.[a-z]{2,}", page)
    assert all(value.startswith(("data:", "#")) for value in parsed.loaded)
    assert not re.search(r"@import|url\((?!data:)|fetch\(|XMLHttpRequest|import\(", page)


def test_holds_the_scores_commands_and_environment(parsed):
    text = " ".join(parsed.text)
    for model in MODELS:
        for key in SCORES:
            assert f"{SUMMARY[model][key]:.3f}" in text, (model, key)
    for shown in ("65%", "25%", "4.2%", "0.042", "1234", "64 held-out", "0.200", "24x32"):
        assert shown in text, shown
    assert "two & a half cores" in text and "'x<1' && echo" in text  # escaped, then read back


def test_its_data_are_the_exhibits(page):
    data = json.loads(re.search(r"const DATA = (.*);\n", page).group(1))
    assert data["grid"] == list(GRID) and len(data["samples"]) == 2
    for number, sample in enumerate(data["samples"]):
        original = exhibit(number)
        assert sample["visible"] == np.flatnonzero(original.visible).tolist()
        assert sample["start"] in sample["visible"]
        np.testing.assert_allclose(sample["truth"], original.truth, atol=5e-4)
        assert sample["person"] == data_url(original.person)
        assert set(sample["maps"]) == set(MODELS)


def test_a_person_without_visible_points_stays_in_the_gallery_only():
    hidden = exhibit(0)
    hidden.visible = np.zeros_like(hidden.visible)
    curves = {name: Curves(loss=[], pck=[]) for name in MODELS}
    page = build_page(SUMMARY, [hidden, exhibit(1)], curves, [])
    data = json.loads(re.search(r"const DATA = (.*);\n", page).group(1))
    assert [s["person"] for s in data["samples"]] == [data_url(exhibit(1).person)]
    assert "No curve was logged." in page and page.count('alt="the truth"') == 2


def test_packed_maps_are_bytes_scaled_by_each_row():
    maps = np.array([[0.1, 0.2, 0.4], [0.0, 0.0, 0.0], [0.5, 0.25, 0.25]])
    found = np.frombuffer(base64.b64decode(packed_maps(maps)), np.uint8).reshape(3, 3)
    assert found.tolist() == [[64, 128, 255], [0, 0, 0], [255, 128, 128]]


def test_data_urls_are_lossless():
    import io

    from PIL import Image

    picture = exhibit(0).person
    head, _, body = data_url(picture).partition(",")
    assert head == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(body)))), picture)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page with")
def test_a_browser_runs_its_script_without_an_error(page, tmp_path):
    """The script draws: it writes what the first chosen point looks at, and logs no error."""
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000"]
    result = subprocess.run(
        [*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=240
    )
    console = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    assert not console, "\n".join(console)
    said = re.findall(r'<span id="say-\w+">([^<]*)</span>', result.stdout)
    assert len(said) == 2 and all("right place" in s or "cells off" in s for s in said)
    assert sorted(re.findall(r'aria-pressed="(\w+)"', result.stdout)) == ["false", "true"]
