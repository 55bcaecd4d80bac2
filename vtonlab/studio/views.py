"""What the page shows, as HTML: every text from outside is escaped, every picture a data URI."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

import cv2
import numpy as np

_LOSSLESS = 300_000  # pixels up to which pictures are sent as PNG
SIDE = 1024  # of pictures that are shown


def uri(picture: np.ndarray, side: int = SIDE) -> str:
    """(H, W, 3) uint8 as a data URI, its longer side at most ``side``."""
    scale = side / max(picture.shape[:2])
    if scale < 1:
        size = tuple(max(1, round(n * scale)) for n in picture.shape[1::-1])
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    small = picture.shape[0] * picture.shape[1] <= _LOSSLESS
    kind, options = (".png", []) if small else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 92])
    done, data = cv2.imencode(kind, np.ascontiguousarray(picture[..., ::-1]), options)
    assert done
    name = "png" if small else "jpeg"
    return f"data:image/{name};base64,{base64.b64encode(data.tobytes()).decode()}"


def problem(sentence: str | None) -> str:
    """An error beside its field; nothing for None."""
    return f'<p class="problem" role="alert">{escape(sentence)}</p>' if sentence else ""


def note(sentences: Iterable[str]) -> str:
    """What is uncertain, or good to know."""
    return "".join(f'<p class="note">{escape(text)}</p>' for text in sentences)


def hint(title: str, text: str) -> str:
    """An empty place says what will be there."""
    return f'<div class="empty"><b>{escape(title)}</b><span>{escape(text)}</span></div>'


def progress(text: str, share: float, picture: np.ndarray | None = None) -> str:
    """How far it is, and what it looks like so far."""
    image = "" if picture is None else f'<img src="{uri(picture)}" alt="the picture so far">'
    width = round(100 * min(1.0, max(0.0, share)))
    return (
        f'<div class="going">{image}<div class="bar" role="progressbar" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{width}"><i style="width:{width}%"></i></div>'
        f'<p role="status">{escape(text)}</p></div>'
    )


def before_after(before: np.ndarray, after: np.ndarray, text: str) -> str:
    """One picture over the other, with a slider between them."""
    height, width = after.shape[:2]
    return (
        f'<figure class="slide" style="--cut:50%"><div class="frame" '
        f'style="aspect-ratio:{width}/{height}">'
        f'<img src="{uri(after)}" alt="after: the person dressed">'
        f'<img class="over" src="{uri(before)}" alt="before: the person as photographed">'
        '<b class="tag left">before</b><b class="tag right">after</b><i></i>'
        '<input type="range" min="0" max="100" value="50" aria-label="between before and after">'
        f"</div><figcaption>{escape(text)}</figcaption></figure>"
    )


def tap(picture: np.ndarray, x: float, y: float) -> str:
    """A picture that is asked by tapping, or with the arrow keys; (x, y) in [0, 1]."""
    height, width = picture.shape[:2]
    return (
        "<h4>The dressed person: tap a place</h4>"
        f'<div class="tap" tabindex="0" role="application" data-x="{x:.4f}" data-y="{y:.4f}" '
        'aria-label="The dressed person. Tap a place, or move the ring with the arrow keys, to see '
        f'where it looked in the garment." style="aspect-ratio:{width}/{height}">'
        f'<img src="{uri(picture)}" alt="" draggable="false">'
        f'<span class="ring" style="left:{100 * x:.2f}%;top:{100 * y:.2f}%"></span></div>'
    )


def looked(name: str, picture: np.ndarray, x: float, y: float, text: str) -> str:
    """The garment under attention, with a cross at (x, y) in [0, 1]."""
    height, width = picture.shape[:2]
    return (
        f'<figure class="looked"><h4>{escape(name)}</h4>'
        f'<div class="frame" style="aspect-ratio:{width}/{height}">'
        f'<img src="{uri(picture)}" alt="the garment, coloured by attention">'
        f'<span class="cross" style="left:{100 * x:.2f}%;top:{100 * y:.2f}%"></span></div>'
        f'<figcaption role="status">{text}</figcaption></figure>'
    )


def picks(pictures: Sequence[tuple[np.ndarray, np.ndarray, str]]) -> str:
    """Buttons with a person and a garment each."""
    buttons = "".join(
        f'<button type="button" data-pick="{number}" aria-label="{escape(name)}">'
        f'<img src="{uri(person, 160)}" alt=""><img src="{uri(garment, 160)}" alt=""></button>'
        for number, (person, garment, name) in enumerate(pictures)
    )
    return (
        '<p class="note">Or begin with a rendered person.</p>'
        f'<div class="picks" role="group" aria-label="examples">{buttons}</div>'
    )


def gallery(tiles: Sequence[tuple[np.ndarray, str, str]]) -> str:
    """Pictures with a title and a line of text."""
    figures = "".join(
        f'<figure><img src="{uri(picture, 480)}" alt="{escape(title)}">'
        f"<figcaption><b>{escape(title)}</b>{escape(text)}</figcaption></figure>"
        for picture, title, text in tiles
    )
    return f'<div class="gallery">{figures}</div>' if tiles else ""


def strip(title: str, tiles: Sequence[tuple[np.ndarray, str]]) -> str:
    """Pictures of one thing in a row that scrolls sideways."""
    figures = "".join(
        f'<figure><img src="{uri(picture)}" alt="{escape(text)}">'
        f"<figcaption>{escape(text)}</figcaption></figure>"
        for picture, text in tiles
    )
    return (
        f'<section class="strip" tabindex="0" aria-label="{escape(title)}">'
        f"<h4>{escape(title)}</h4><div>{figures}</div></section>"
    )
