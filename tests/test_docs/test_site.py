"""The site builds without network and without warnings, and asks nobody for anything."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools/docs"))

needs_mkdocs = pytest.mark.skipif(
    importlib.util.find_spec("material") is None
    or importlib.util.find_spec("mkdocstrings") is None,
    reason="the extra `docs` is not installed",
)
OFFLINE = """
import socket, sys

def refused(*_, **__):
    raise OSError("the network was asked for")

socket.create_connection = socket.getaddrinfo = refused
sys.argv = ["mkdocs", "build", "--strict", "--site-dir", sys.argv[1]]
from mkdocs.__main__ import cli
cli()
"""


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


@needs_mkdocs
@pytest.mark.slow
def test_the_site_builds_offline_without_a_warning(tmp_path):
    command = [sys.executable, "-c", OFFLINE, str(tmp_path / "site")]
    env = dict(os.environ, NO_MKDOCS_2_WARNING="1")
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    told = done.stdout + done.stderr
    assert done.returncode == 0 and "WARNING -" not in told, told[-4000:]
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(
            r'<(?:script|img|source|iframe)[^>]+(?:src|srcset)="(https?:[^"]+)"', text
        )
        fetched += re.findall(
            r'<link[^>]+rel="(?:stylesheet|preconnect|icon)"[^>]*href="(https?:[^"]+)"', text
        )
        fetched += re.findall(
            r'<link[^>]+href="(https?:[^"]+)"[^>]*rel="(?:stylesheet|preconnect)', text
        )
        assert not fetched, f"{page.name} fetches {fetched[:3]}"
        assert "--8&lt;--" not in text and "--8<--" not in text
