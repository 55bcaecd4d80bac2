"""HTML reports."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "page": ["Chart", "Story", "write_page"],
        "side_files": ["find_studies", "read_study"],
        "systems": ["Group", "System", "collect"],
    },
)
