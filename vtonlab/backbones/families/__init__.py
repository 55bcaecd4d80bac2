"""How the families of backbones are called: one file each, found for a class by its bases.

``FAMILIES.find(backbone)`` gives the adapter; a plugin adds one with ``@FAMILIES.register(...)``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"base": ["BackboneFamily", "Reference", "Text", "family_of"]}
)
