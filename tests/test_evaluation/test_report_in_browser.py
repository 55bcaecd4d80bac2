"""The report in a real browser: filters, swipe and attention answer; nothing is asked elsewhere."""

import sys
import time
from pathlib import Path

import pytest

from vtonlab.evaluation.report import collect, write_page

sys.path.insert(0, str(Path(__file__).parents[1]))
from browser import CHROMIUM, Browser
from fake_results import GRID, fake_results

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page with")


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """Two systems; the second attends one cell too far to the right."""
    root = tmp_path_factory.mktemp("report")
    fake_results(root / "a" / "test", "plain", pairs=30)
    fake_results(root / "b" / "test", "sharp", pairs=30, skill=1.0)
    write_page(root / "report.html", collect([root / "a", root / "b"]))
    return root / "report.html"


@pytest.fixture(scope="module")
def shared():
    with Browser() as started:
        yield started


@pytest.fixture
def browser(shared, page):
    """The page, freshly opened at desktop width."""
    shared.errors.clear()
    shared.requests.clear()
    shared.window(1280, 900)
    shared.open(page)
    shared.until("document.querySelectorAll('#gallery .pair').length > 0")
    yield shared
    assert not shared.errors
    asked = [url for url in shared.requests if not url.startswith(("data:", "file:"))]
    assert not asked and [u for u in shared.requests if u.startswith("file:")] == [page.as_uri()]


def names(browser) -> list[str]:
    return browser.run(
        "[...document.querySelectorAll('#gallery .says > :first-child')].map(e => e.innerText)"
    )


def count(browser) -> str:
    return browser.run("document.getElementById('count').innerText")


def test_gallery_filters_and_sorts(browser):
    assert count(browser) == "30 pairs" and len(names(browser)) >= 24
    browser.choose("#search", "P0003")
    assert count(browser) == "1 of 30 pairs" and names(browser) == ["p0003 in g&<0003"]
    browser.choose("#search", "")
    browser.choose("#category", "dresses")
    assert count(browser) == "15 of 30 pairs"
    browser.choose("#category", "")
    browser.choose("#show", "0,1")  # plain beats sharp: the planted exception alone
    assert names(browser) == ["p0001 in g&<0001"]
    browser.choose("#show", "")
    browser.choose("#sort", "worst,1")
    assert [n[:5] for n in names(browser)[:2]] == ["p0029", "p0028"]
    browser.choose("#metric", "1")  # a score of which more is better
    assert [n[:5] for n in names(browser)[:2]] == ["p0001", "p0029"]
    said = browser.run("document.getElementById('summary').innerText")
    assert "sharp is better on 29 of 30 pairs" in said
    extremes = (
        "[...document.querySelectorAll('.extremes .says > :first-child')].map(e => e.innerText)"
    )
    assert [n[:5] for n in browser.run(extremes)] == [
        *("p0000", "p0002", "p0003"),
        *("p0001", "p0029", "p0028"),
    ]


def test_a_range_of_the_spread_is_kept(browser):
    left, top, width, height = browser.box("#histogram svg")
    browser.mouse("moved", left + 40, top + height / 2)
    browser.mouse("pressed", left + 40, top + height / 2)
    browser.mouse("moved", left + width / 4, top + height / 2, down=True)
    browser.mouse("released", left + width / 4, top + height / 2)
    kept = int(count(browser).split()[0])
    assert 0 < kept < 30
    assert "Error inside the mask 0.300 to" in browser.run("$('range').innerText")
    browser.click("#range")
    assert count(browser) == "30 pairs"


def test_swipe_compares_two_models(browser):
    browser.click("#gallery .pair:nth-child(3)")
    assert browser.run("$('viewer').open")
    assert browser.run("[$('left').value, $('right').value]") == ["o0", "o1"]
    sources = browser.run("[$('swipe-left').src, $('swipe-right').src]")
    assert sources[0] != sources[1] and all(s.startswith("data:image/webp") for s in sources)
    left, top, width, height = browser.box("#swipe")
    for share in (0.25, 0.8):
        browser.mouse("pressed", left + width * share, top + height / 2)
        browser.mouse("released", left + width * share, top + height / 2)
        assert (
            abs(float(browser.run("$('swipe').getAttribute('aria-valuenow')")) - 100 * share) <= 1
        )
        clip = browser.run("getComputedStyle($('swipe-left')).clipPath")
        assert clip.startswith("inset(0px")
    browser.choose("#right", "i6")
    assert browser.run("$('swipe-right-name').innerText") == "truth"
    browser.click("#next")
    assert browser.run("$('viewer-title').innerText") == "p0003"
    assert browser.run("$('right').value") == "i6"  # the choice stays
    browser.click("#viewer-close")
    assert not browser.run("$('viewer').open")


def test_hovering_a_point_shows_where_it_looks(browser):
    browser.until("$('person').width > 300 && $('asked').innerText.length > 0")
    left, top, width, height = browser.box("#person")
    for row, column in ((1, 1), (3, 2), (0, 0)):
        query = row * GRID[1] + column
        x, y = (column + 0.5) / GRID[1], (row + 0.5) / GRID[0]
        browser.mouse("moved", left + width * x, top + height * y)
        nearest = query if query % 2 == 0 else None  # every other point has a truth
        if nearest is not None:
            expected = f"row {row + 1} of 4, column {column + 1} of 3"
            assert browser.run("$('asked').innerText") == expected
        assert "looks in the right place, with 73 %" in browser.run("$('say-0').innerText")
    assert "looks in the right place" in browser.run("$('say-1').innerText")  # one cell off counts
    browser.mouse("moved", left + width * 5 / 6, top + height * 3 / 8)  # its neighbour: next row
    browser.choose("#layer-1", "0")
    assert "cells off" in browser.run("$('say-1').innerText")
    before = browser.run("$('heat-0').toDataURL()")
    browser.mouse("moved", left + width / 6, top + height * 5 / 8)
    assert browser.run("$('heat-0').toDataURL()") != before
    browser.click("#picks button:nth-child(2)")
    browser.until("$('picks').children[1].getAttribute('aria-pressed') === 'true'")


def test_fits_a_phone(browser):
    browser.window(390, 844, phone=True)
    assert browser.run("document.documentElement.scrollWidth") == 390
    wide = browser.run(
        "[...document.querySelectorAll('main *')]"
        ".filter(e => !e.closest('.scroll, .picks, pre, svg'))"
        ".filter(e => e.getBoundingClientRect().right > 391).map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []
    browser.click("#gallery .pair")
    left, _, width, _ = browser.box("#swipe")
    assert left >= 0 and left + width <= 390


def test_pictures_and_maps_beside_the_page_are_found(shared, tmp_path, monkeypatch):
    from vtonlab.evaluation.report import page as module

    monkeypatch.setattr(module, "ATTENTION_BYTES", 0)
    fake_results(tmp_path / "a" / "test", "plain", attention=2)
    write_page(tmp_path / "report.html", collect([tmp_path]), pictures="folder")
    shared.errors.clear()
    shared.open(tmp_path / "report.html")
    shared.until("document.querySelector('#gallery img')?.naturalWidth === 24")
    shared.until("$('say-0')?.innerText.includes('looks in the right place')")
    assert not shared.errors


@pytest.mark.slow
def test_two_thousand_pairs_paint_at_once(shared, tmp_path):
    """First paint below 3 s and page below 5 MB, its pictures beside it."""
    for name in ("plain", "sharp"):
        fake_results(tmp_path / name / "test", name, pairs=2000, attention=12, distinct=500)
    size = write_page(tmp_path / "report.html", collect([tmp_path]))
    assert size < 5_000_000 and (tmp_path / "report_files").is_dir()
    shared.errors.clear()
    shared.window(390, 844, phone=True)
    shared.open(tmp_path / "report.html")
    shared.until("performance.getEntriesByName('first-contentful-paint').length > 0")
    paint = shared.run("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    shared.until("document.querySelectorAll('#gallery .pair').length >= 24")
    assert paint < 3000, f"first paint after {paint:.0f} ms"
    start = time.monotonic()
    shared.choose("#search", "p19")
    assert count(shared) == "100 of 2000 pairs" and time.monotonic() - start < 3
    shared.box("#gallery img")
    shared.until("document.querySelector('#gallery img').complete")
    assert shared.run("document.querySelector('#gallery img').naturalWidth") == 24
    assert not shared.errors
    print(f"page {size / 1e6:.2f} MB, first paint {paint:.0f} ms")
