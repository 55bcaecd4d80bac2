"""Photographs in other colour spaces, such as the Display P3 of phones, made sRGB."""

import io
from functools import lru_cache

from PIL import Image, ImageCms

_SRGB = ("srgb", "iec61966-2")
_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}


def profile_name(image: Image.Image) -> str:
    """The name of the embedded profile, or "" where there is none, or it is sRGB or damaged."""
    data = image.info.get("icc_profile")
    return _describe(data) if data else ""


@lru_cache(maxsize=64)
def _describe(data: bytes) -> str:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        name = ImageCms.getProfileDescription(profile).strip() or "unnamed"
    except (OSError, ImageCms.PyCMSError):
        return ""
    plain = name.lower().replace(" ", "")
    return "" if any(word in plain for word in _SRGB) else name


@lru_cache(maxsize=16)
def _transform(data: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """To sRGB, relative to each space's white; None where the profile is of another space."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        if profile.profile.xcolor_space.strip() != _SPACES[mode]:
            return None
        return ImageCms.buildTransform(
            profile, _srgb(), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
    except (OSError, ValueError, ImageCms.PyCMSError):
        return None


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def to_srgb(image: Image.Image) -> Image.Image:
    """The picture in sRGB: RGB or RGBA where its profile said otherwise, else as it is.

    A damaged profile, or one of another number of colours, counts as none.
    """
    if not profile_name(image):
        return image
    data, alpha = image.info["icc_profile"], None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha, image = image.getchannel("A"), image.convert("RGB")
    elif image.mode not in _SPACES:
        image = image.convert("RGB")
    transform = _transform(data, image.mode)
    if transform is not None:
        image = ImageCms.applyTransform(image, transform)
    if alpha is not None:
        image = image.convert("RGB")
        image.putalpha(alpha)
    return image
