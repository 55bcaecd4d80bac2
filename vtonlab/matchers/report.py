"""What a matcher found and what each of its filters removed."""

from __future__ import annotations

from dataclasses import dataclass, field

from vtonlab.structures import Correspondences


@dataclass
class MatchReport:
    """The result of ``matcher.explain``.

    Attributes:
        matches: what survived everything; ``matcher(...)`` returns just this.
        counts: ``candidates``, then what each filter removed by name, then ``matches``, summed over
            the regions; also ``person_keypoints`` and ``garment_keypoints``.
        removed: by filter name, the matches it removed, for drawing.
    """

    matches: Correspondences
    counts: dict[str, int] = field(default_factory=dict)
    removed: dict[str, Correspondences] = field(default_factory=dict)

    @classmethod
    def cat(cls, parts: list[MatchReport]) -> MatchReport:
        """Reports of several regions as one."""
        counts: dict[str, int] = {}
        removed: dict[str, list[Correspondences]] = {}
        for part in parts:
            for name, count in part.counts.items():
                counts[name] = counts.get(name, 0) + count
            for name, matches in part.removed.items():
                removed.setdefault(name, []).append(matches)
        return cls(
            Correspondences.cat([part.matches for part in parts]),
            counts,
            {name: Correspondences.cat(group) for name, group in removed.items()},
        )
