"""The site builds without network and without warnings, and asks nobody for anything."""

import re
import socket
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools/docs"))


def test_pages_show_their_tables():
    import tables

    assert tables.pages()
    for page in tables.pages():
        text = page.read_text(encoding="utf-8")
        assert tables.filled(text, ROOT / "docs") == text, f"{page}: run tools/docs/tables.py"


def test_every_csv_is_shown():
    import tables

    shown = {found for p in tables.pages() for found in re.findall(r"table: (\S+)", p.read_text())}
    assert shown == {f"tables/{path.name}" for path in (ROOT / "docs/tables").glob("*.csv")}


def test_every_registered_class_has_a_page():
    import reference

    from vtonlab import registry

    listed = {key for _, registries, _ in reference.PAGES.values() for each in registries
              for key in reference.registered(each)}  # fmt: skip
    for each in vars(registry).values():
        if isinstance(each, registry.Registry):
            for key in registry.names(each):
                home = getattr(each.get(key), "__module__", "")
                if home.startswith("vtonlab.") and ".visualization" not in home:
                    assert key in listed, f"{key} of {each.name} stands on no page"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built where every connection is refused and every warning is an error."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("docs") / "site"

    def refused(*_, **__):
        raise OSError("the network was asked for")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # where mkdocstrings looks for the package
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        for name in ("create_connection", "getaddrinfo"):
            patch.setattr(socket, name, refused)
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    return folder


def test_the_site_builds_offline_without_a_warning(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loads = r'<(?:script|img|source|iframe)[^>]+(?:src|srcset)="(https?:[^"]+)"'
        styles = r'<link[^>]+rel="(?:stylesheet|preconnect|icon)"[^>]*href="(https?:[^"]+)"'
        fetched = re.findall(loads, text) + re.findall(styles, text)
        assert not fetched, f"{page.name} fetches {fetched[:3]}"
        assert "<!-- include" not in text and "<!-- needs" not in text


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_no_page_is_wider_than_a_phone_or_asks_anybody_else(site):
    serving = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(serving, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        home = f"http://127.0.0.1:{server.server_port}/"
        with Browser() as browser:
            browser.window(390, 844)
            for page in sorted(site.rglob("index.html")):
                address = home + page.parent.relative_to(site).as_posix().removeprefix(".") + "/"
                browser.send(
                    "Page.navigate", url=address.replace("//", "/").replace(":/", "://", 1)
                )
                browser.until("document.readyState === 'complete'")
                wide = browser.run("document.documentElement.scrollWidth")
                assert wide <= 390, f"{page.relative_to(site)} is {wide} pixels wide on a phone"
            others = [
                url for url in browser.requests if not url.startswith((home, "data:", "blob:"))
            ]
            assert not others, others[:5]
            assert not browser.errors, browser.errors[:3]
        server.shutdown()
