"""The studio: try on, look, batches and data sets in a browser (``vtonlab app``)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "models": ["Shelf"],
        "page": ["build_page"],
        "server": ["make_app", "serve"],
        "settings": ["Settings"],
    },
)
