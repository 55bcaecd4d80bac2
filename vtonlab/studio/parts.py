"""Parts of the page: Gradio's components, and own ones where Gradio's cannot be used by keyboard or
on a phone.

Uploaded pictures reach us as paths: nothing is decoded before it was checked.
"""

from pathlib import Path
from typing import Any

import gradio as gr

SCRIPT = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")


def script(name: str) -> str:
    """One section of ``page.js``."""
    sections = SCRIPT.split("// === ")
    return next(s.partition("\n")[2] for s in sections if s.partition("\n")[0].strip() == name)


def photo(label: str, **options: Any) -> gr.Image:
    """A picture by upload, paste or camera; its value is the path of the file as it was sent."""
    part = gr.Image(
        label=label,
        type="filepath",
        format="png",
        sources=["upload", "webcam", "clipboard"],
        buttons=[],
        webcam_options=gr.WebcamOptions(mirror=False),
        **options,
    )
    part.preprocess = _path
    return part


def brush(**options: Any) -> gr.HTML:
    """The mask over the person, to paint and to erase; its value is `masks.canvas`'s, then what
    `masks.painted` reads.
    """
    return gr.HTML(None, html_template=BRUSH, js_on_load=script("brush"), **options)


BRUSH = (Path(__file__).parent / "brush.html").read_text(encoding="utf-8")


def _path(payload: Any) -> str | None:
    return None if payload is None else payload.path


def html(value: str = "", section: str | None = None, **options: Any) -> gr.HTML:
    """A place for `views`, with a section of ``page.js``."""
    return gr.HTML(value, js_on_load=script(section) if section else None, **options)


def drop(title: str, text: str, accept: str, **options: Any) -> gr.HTML:
    """A place to drop files or a folder on; its value is a list of ``{"name", "path"}``, where the
    name is the file's below the folder.
    """
    inside = (
        f'<div class="drop"><b>{title}</b><span>{text}</span>'
        '<div class="row"><button type="button" data-choose="files">Choose files</button>'
        '<button type="button" data-choose="folder">Choose a folder</button></div>'
        '<p class="told" role="status"></p>'
        f'<input type="file" data-kind="files" accept="{accept}" multiple hidden>'
        '<input type="file" data-kind="folder" webkitdirectory hidden></div>'
    )
    return gr.HTML(None, html_template=inside, js_on_load=script("drop"), **options)
