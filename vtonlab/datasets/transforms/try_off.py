"""Try-off as a task of try-on data: the flat garment is generated from the dressed person."""

from collections.abc import Sequence

import numpy as np

from vtonlab.registry import TRANSFORMS
from vtonlab.structures.correspondences import Correspondences
from vtonlab.structures.flow_field import FlowField

GREY = 128  # of an agnostic picture's hole
# Maps of the other picture that have no counterpart, and what is made anew.
LEFT_OUT = (
    *("agnostic", "pose", "parse", "iuv", "keypoints", "body", "target", "latents"),
    "source_size",
)
_SIZES = {"source_size": "garment_source_size", "garment_source_size": "source_size"}


@TRANSFORMS.register_module()
class TryOff:
    """Exchanges person and garment: ``person`` (what is generated) is the flat garment, ``garment``
    (what is seen) the photograph of the person who wears it.

    ``mask`` and ``worn_mask`` are the garment's mask, ``garment_mask`` is the worn garment's,
    ``source_size`` that of the garment's file, and correspondences are inverted: each garment point
    has its person point. ``flow`` is that of the inverted correspondences, for data whose truth is
    dense. The maps of the person that a flat garment has none of are left out; so `agnostic` is no
    reference of this task.

    Raises:
        ValueError: the garment is not worn by the person (``target`` in the sample), or a mask is
            missing.
    """

    def __init__(self, *, blank: Sequence[str] = ()) -> None:
        unknown = sorted(set(blank) - {"agnostic", "pose"})
        if unknown:
            raise ValueError(f"TryOff: blank {unknown[0]!r} is none of agnostic, pose")
        self.blank = tuple(blank)

    def __call__(self, sample: dict) -> dict:
        if "target" in sample:
            raise ValueError(
                f"TryOff: sample {sample['id']!r} shows a person in another garment; it is for "
                "paired data"
            )
        missing = [name for name in ("garment_mask", "worn_mask") if name not in sample]
        if missing:
            raise ValueError(
                f"TryOff: sample {sample['id']!r} lacks {missing[0]!r}; ask the data set for it"
            )
        turned = {k: v for k, v in sample.items() if k not in LEFT_OUT and k[:8] != "garment_"}
        turned |= {
            "garment_id": sample["garment_id"],
            "person": sample["garment"],
            "garment": sample["person"],
            "mask": sample["garment_mask"],
            "worn_mask": sample["garment_mask"],
            "garment_mask": sample["worn_mask"],
        }
        turned |= {mine: sample[theirs] for mine, theirs in _SIZES.items() if theirs in sample}
        grey = np.full_like(sample["garment"], GREY)
        turned |= {name: grey for name in self.blank}
        matches = sample.get("correspondences")
        if matches is not None:
            turned["correspondences"] = inverted(matches)
        if "flow" in sample:
            size = sample["garment"].shape[:2]
            dense = inverted(sample["flow"].to_correspondences())
            turned["flow"] = FlowField.from_correspondences(dense, size)
        return turned


def inverted(matches: Correspondences) -> Correspondences:
    """Person points and garment points exchanged."""
    return Correspondences(matches.garment_points, matches.person_points, matches.scores)
