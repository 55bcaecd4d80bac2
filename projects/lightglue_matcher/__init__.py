"""A matcher registered from outside the package: see README.md."""

from projects.lightglue_matcher.matcher import LightGlueMatcher

__all__ = ["LightGlueMatcher"]
