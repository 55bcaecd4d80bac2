"""vtonlab: correspondence-supervised diffusion virtual try-on."""

from vtonlab.version import __version__

__all__ = ["__version__"]
