"""The layouts that synthetic data can be written in, by name."""

from vtonlab.synthetic.writer import Layout, Settings
from vtonlab.synthetic.writer_deepfashion import DeepFashionLayout
from vtonlab.synthetic.writer_dresscode import DressCodeLayout
from vtonlab.synthetic.writer_mpv import MPVLayout
from vtonlab.synthetic.writer_vitonhd import VITONHDLayout

LAYOUTS = {
    "vitonhd": VITONHDLayout,
    "dresscode": DressCodeLayout,
    "deepfashion": DeepFashionLayout,
    "mpv": MPVLayout,
}


def build_layout(settings: Settings) -> Layout:
    """The layout that ``settings`` names.

    Raises:
        ValueError: No such layout, or settings it cannot be written with.
    """
    if settings.layout not in LAYOUTS:
        raise ValueError(f"layout {settings.layout!r} is none of {', '.join(LAYOUTS)}")
    return LAYOUTS[settings.layout](settings)
