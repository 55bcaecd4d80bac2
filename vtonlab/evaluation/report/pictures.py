"""Pictures inside a page: PNG data URLs and quantised attention maps."""

import base64
import io

import numpy as np
from PIL import Image


def data_url(picture: np.ndarray) -> str:
    """A uint8 (H, W, 3) picture as a PNG data URL."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def packed_maps(maps: np.ndarray) -> str:
    """Attention maps (Nq, Nk), each scaled by its own maximum to one byte a key, as base64."""
    scaled = maps / np.maximum(maps.max(axis=1, keepdims=True), 1e-12)
    return base64.b64encode(np.rint(scaled * 255).astype(np.uint8).tobytes()).decode()
