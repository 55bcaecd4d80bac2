"""A table of what is known about classes, found for a class or for any of its bases."""

import pkgutil
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

from vtonlab.utils.plugins import load_plugins


class ClassTable:
    """Facts about classes of other libraries (or of a plugin), each registered by who knows them.

    A class is named by itself or, where importing it would cost time or may fail in another
    release, by package and name: ``"diffusers.FluxTransformer2DModel"``. A subclass has the facts
    of its nearest base. What is registered later replaces what was there.

    Args:
        noun: what the facts are of, for messages.
        locations: packages whose modules register facts; imported when first asked.
    """

    def __init__(self, noun: str, *, locations: Sequence[str] = ()) -> None:
        self.noun = noun
        self._locations = tuple(locations)
        self._facts: dict[type | str, Any] = {}
        self._is_complete = False

    def add(self, facts: Any, *classes: type | str) -> None:
        """Register ``facts`` for classes."""
        if not classes:
            raise ValueError(f"name at least one class for this {self.noun}")
        for each in classes:
            if isinstance(each, str) and each.count(".") != 1:
                raise ValueError(f"{each!r}: name a class as 'package.Class', or give it itself")
            self._facts[each] = facts

    def register(self, *classes: type | str) -> Callable[[type], type]:
        """Decorator: an instance of the class below holds the facts of ``classes``."""

        def decorate(cls: type) -> type:
            self.add(cls(), *classes)
            return cls

        return decorate

    def find(self, thing: Any) -> Any | None:
        """Facts of a class, or of an object's class, or of the nearest base; None if unknown."""
        self._complete()
        for base in (thing if isinstance(thing, type) else type(thing)).__mro__:
            for key in (base, f"{base.__module__.partition('.')[0]}.{base.__name__}"):
                if key in self._facts:
                    return self._facts[key]
        return None

    def classes(self) -> list[str]:
        """Names of the classes with facts, sorted."""
        self._complete()
        return sorted(key if isinstance(key, str) else key.__name__ for key in self._facts)

    def items(self) -> Iterator[tuple[type | str, Any]]:
        """Classes and their facts, in the order of registration."""
        self._complete()
        yield from self._facts.items()

    def _complete(self) -> None:
        if self._is_complete:
            return
        self._is_complete = True  # first: what is imported may ask this table
        import_all(self._locations)


def import_all(locations: Sequence[str]) -> None:
    """Import packages with all modules below them, and the installed plugins."""
    for location in locations:
        import_below(location)
    load_plugins()


def import_below(location: str) -> None:
    """Import a package with all modules below it."""
    module = import_module(location)
    for found in pkgutil.walk_packages(getattr(module, "__path__", ()), location + "."):
        import_module(found.name)
