"""Tiles with captions, put together to pages. Pictures are uint8 RGB numpy arrays (H, W, 3)."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

PAPER, INK, LINE = (250, 250, 248), (52, 54, 60), (206, 208, 212)
CAPTION = 22  # pixels of a caption line


def to_picture(image: np.ndarray) -> np.ndarray:
    """A picture from RGB (H, W, 3), grey (H, W) uint8 or a mask (H, W) of bool or {0, 1}.

    Raises:
        ValueError: The array has another shape or type.
    """
    image = np.asarray(image)
    if image.dtype == bool or (image.ndim == 2 and image.max(initial=0) <= 1):
        image = image.astype(np.uint8) * 255
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise ValueError(
            f"a picture is uint8 (H, W, 3) or (H, W), not {image.dtype} {tuple(image.shape)}"
        )
    return np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image


def fit(image: np.ndarray, height: int, width: int, crisp: bool | None = None) -> np.ndarray:
    """The picture scaled into (height, width), its aspect kept, on paper colour.

    Args:
        crisp: Keep pixels square-edged (for maps); by default when it grows at least twofold.
    """
    image = to_picture(image)
    scale = min(height / image.shape[0], width / image.shape[1])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    crisp = scale >= 2 if crisp is None else crisp
    how = cv2.INTER_NEAREST if crisp else cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(image, size, interpolation=how)
    page = np.full((height, width, 3), PAPER, np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    page[top : top + size[1], left : left + size[0]] = scaled
    return page


def write(
    image: np.ndarray, text: str, x: float, y: float, height: float = 10.0, color: tuple = INK
) -> None:
    """Write one line in place; ``height`` is that of capitals, (x, y) the left end of its base."""
    scale = height / 21.0
    where = (round(x), round(y))
    cv2.putText(image, text, where, cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)


def text_width(text: str, height: float = 10.0) -> int:
    """Pixels a line takes that :func:`write` draws."""
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, height / 21.0, 1)[0][0]


def caption_strip(text: str, width: int) -> np.ndarray:
    """A caption alone, (CAPTION, width, 3), centred; long ones lose their start."""
    while text and text_width(text, 9.0) > width - 4:
        text = text[1:]
    strip = np.full((CAPTION, width, 3), PAPER, np.uint8)
    write(strip, text, max(2, (width - text_width(text, 9.0)) / 2), CAPTION - 8, 9.0)
    return strip


def pad_to(image: np.ndarray, width: int) -> np.ndarray:
    """The picture in the middle of a paper of that width."""
    left = (width - image.shape[1]) // 2
    right = width - image.shape[1] - left
    return cv2.copyMakeBorder(image, 0, 0, left, right, cv2.BORDER_CONSTANT, value=PAPER)


def tile(image: np.ndarray, caption: str, height: int, width: int) -> np.ndarray:
    """A picture over its caption, (height + CAPTION, width, 3); long captions lose their end."""
    while caption and text_width(caption, 9.0) > width - 4:
        caption = caption[:-1]
    return np.concatenate([fit(image, height, width), caption_strip(caption, width)])


def grid(tiles: Sequence[np.ndarray], columns: int, gap: int = 6) -> np.ndarray:
    """Tiles of one size in rows of ``columns``, on paper.

    Raises:
        ValueError: No tiles, or tiles of different sizes.
    """
    if not tiles or any(t.shape != tiles[0].shape for t in tiles):
        raise ValueError("a page needs tiles, all of one size")
    height, width = tiles[0].shape[:2]
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    page_size = (rows * (height + gap) + gap, columns * (width + gap) + gap, 3)
    page = np.full(page_size, PAPER, np.uint8)
    for i, one in enumerate(tiles):
        top = gap + (i // columns) * (height + gap)
        left = gap + (i % columns) * (width + gap)
        page[top : top + height, left : left + width] = one
    return page


def titled_grid(titles: Sequence[str], tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of tiles under a title for each column; a title may have several lines."""
    wide = max(one.shape[1] for one in tiles)
    lines = [title.split("\n") for title in titles]
    deep = max(map(len, lines))
    heads = [
        np.concatenate([caption_strip(text, wide) for text in [""] * (deep - len(one)) + one])
        for one in lines
    ]
    columns = len(titles)
    return stack([grid(heads, columns), grid([pad_to(one, wide) for one in tiles], columns)])


def stack(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Pages below each other, the narrower ones widened with paper."""
    width = max(part.shape[1] for part in parts)
    padded = [
        cv2.copyMakeBorder(p, 0, 0, 0, width - p.shape[1], cv2.BORDER_CONSTANT, value=PAPER)
        for p in parts
    ]
    return np.concatenate(padded)


def heading(text: str, width: int, height: float = 12.0) -> np.ndarray:
    """A line of text over a rule."""
    strip = np.full((round(height) + 18, width, 3), PAPER, np.uint8)
    write(strip, text, 8, round(height) + 7, height)
    strip[-2:-1, 6:-6] = LINE
    return strip


def tint(
    image: np.ndarray, mask: np.ndarray, color: tuple = (226, 68, 92), alpha: float = 0.45
) -> np.ndarray:
    """The picture with the area of ``mask`` (H, W) coloured and outlined."""
    image, mask = to_picture(image).copy(), np.asarray(mask) > 0
    if mask.shape != image.shape[:2]:
        raise ValueError(f"mask {mask.shape} and picture {image.shape[:2]} differ in size")
    inside = image[mask] * (1 - alpha) + np.array(color) * alpha
    image[mask] = np.rint(inside).astype(np.uint8)
    if min(image.shape[:2]) >= 160:
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, contours, -1, color, 1, cv2.LINE_AA)
    return image


def save_png(path: str | Path, image: np.ndarray) -> None:
    """Write a picture as PNG; parents of ``path`` are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(".png", to_picture(image)[..., ::-1])
    assert done
    path.write_bytes(data.tobytes())
