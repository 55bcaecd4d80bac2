"""The sample: the one dictionary that data sets, joint transforms, matchers and models exchange.

What a data set returns (``H, W`` is one size for all person maps; garment maps may have another):

=================  ==========================  ================================================
key                value                       meaning
=================  ==========================  ================================================
``id``             str                         person, without extension
``garment_id``     str                         garment, without extension
``category``       str                         ``upper_body``, ``lower_body`` or ``dresses``
``caption``        str                         what is worn, in words
``index``          int                         place in the data set
``position``       int                         global sample number of the run
``source_size``    (int, int)                  height and width of the person's file, if resized
``garment_source_size``  (int, int)            the same of the garment's file
``person``         (H, W, 3) uint8 RGB         the photograph; the target too, in paired data
``garment``        (Hg, Wg, 3) uint8 RGB       flat product picture
``agnostic``       (H, W, 3) uint8 RGB         person with the try-on area painted grey
``mask``           (H, W) uint8 in {0, 1}      1 = to be generated
``garment_mask``   (Hg, Wg) uint8 in {0, 1}    1 = garment in ``garment``
``worn_mask``      (H, W) uint8 in {0, 1}      1 = worn garment in ``person``
``pose``           (H, W, 3) uint8 RGB         DensePose-like rendering
``parse``          (H, W) uint8                LIP labels, 0 to 19
``iuv``            (H, W, 3) uint8             DensePose part, U, V
``keypoints``      (25, 3) float32             BODY_25: x, y in [0, 1], confidence
``garment_pose``   (Hg, Wg, 3) uint8 RGB       these four where ``garment`` is a photograph of a
``garment_parse``  (Hg, Wg) uint8              dressed person
``garment_iuv``    (Hg, Wg, 3) uint8
``garment_keypoints``  (25, 3) float32
``latents``        CachedLatents               encoded pictures, in place of the encoder
``body``           dict of arrays              projected vertices (`SMPLFlowMatcher`)
``correspondences``  Correspondences           may be empty
``flow``           FlowField of (H, W)         the truth, where it is known
``target``         (H, W, 3) uint8 RGB         true result where ``garment`` is not worn
``before``         (H, W, 3) uint8 RGB         the person in other clothes than in ``person``
``task``           str                         what is asked for, where a run mixes tasks
=================  ==========================  ================================================

A person may be shown in several garments at once, and beside them a photograph of somebody else who
wears the first. Each has a role, and keys of its own that end in it (`reference_keys`):

=============  =====================================================================================
role           its picture, and what belongs to it
=============  =====================================================================================
``garment``    ``garment``, ``garment_id``, ``garment_mask``, ``worn_mask``, ``correspondences``,
               ``flow``
``garment_2``  ``garment_2``, ``garment_id_2``, ``garment_mask_2``, ``worn_mask_2``, ... (2 to 4)
``worn``       ``worn``, ``correspondences_worn``, ``flow_worn``: from ``person`` to that photograph
=============  =====================================================================================

``id`` to ``position``, ``person`` and ``garment`` are always there, the others when the data set
was asked for them and has them. ``collate`` turns a list of samples into a batch: pictures
(B, 3, H, W) uint8, masks (B, 1, H, W) uint8, label maps (B, H, W) uint8, ``keypoints`` (B, 25, 3)
float32, ``position`` (B,) int64, everything else a list. A key is in the batch only if every sample
has it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from mmengine.registry import FUNCTIONS
from torch.utils.data import get_worker_info

from vtonlab.structures.categories import CATEGORIES
from vtonlab.structures.correspondences import Correspondences
from vtonlab.structures.flow_field import FlowField
from vtonlab.utils.shared_batches import ship

MORE_GARMENTS = tuple(f"garment_{number}" for number in (2, 3, 4))
REFERENCES = ("garment", *MORE_GARMENTS, "worn")  # roles that may have matches of their own
REQUIRED = ("id", "garment_id", "category", "index", "position", "person", "garment")
IUV_MAPS = ("iuv", "garment_iuv")
PICTURES = (
    *("person", "garment", "agnostic", "pose", "garment_pose", "target", *IUV_MAPS),
    *(*MORE_GARMENTS, "worn", "before"),
)
MASKS = (
    *("mask", "garment_mask", "worn_mask"),
    *(f"{kind}_mask_{role[-1]}" for role in MORE_GARMENTS for kind in ("garment", "worn")),
)
LABEL_MAPS = ("parse", "garment_parse")
KEYPOINTS = ("keypoints", "garment_keypoints")
# These live in the garment picture, the other maps in the person's.
GARMENT_MAPS = (
    *("garment", "garment_mask", "garment_pose"),
    *("garment_parse", "garment_iuv", "garment_keypoints"),
)
_OWN_PICTURES = {role: role for role in REFERENCES[1:]} | {
    f"garment_mask_{role[-1]}": role for role in MORE_GARMENTS
}
_STACKED = frozenset((*PICTURES, *MASKS, *LABEL_MAPS))
_LARGE = 1 << 20  # bytes of a batch from which shared memory is worth keeping
_PRIVATE = ("rng",)  # lent to the transforms, never collated


def key_of(name: str, role: str) -> str:
    """``flow`` of the garment, ``flow_2`` of ``garment_2``, ``flow_worn`` of ``worn``."""
    return name + (role.removeprefix("garment") if role.startswith("garment") else f"_{role}")


def reference_keys(role: str) -> dict[str, str]:
    """Keys of a sample under which a reference has what the garment has under the usual ones:
    ``correspondences`` -> ``correspondences_2``; those that all references share are left out.
    """
    if role == "garment":
        return {}
    names = ["garment_id", "garment_mask", "correspondences", "flow"]
    if role.startswith("garment"):  # a photograph shows the first garment again
        names.append("worn_mask")
    return {"garment": role, **{name: key_of(name, role) for name in names}}


def truths(sample: Mapping) -> Iterator[tuple[str, str]]:
    """Keys of a sample's correspondences and flows, each with the role of their picture."""
    for role in REFERENCES:
        for name in ("correspondences", "flow"):
            if key_of(name, role) in sample:
                yield key_of(name, role), role


def owner(key: str) -> str:
    """The picture that a map lies over: ``"person"``, or the role of a reference."""
    return _OWN_PICTURES.get(key, "garment" if key in GARMENT_MAPS else "person")


def check_sample(sample: dict, required: Sequence[str] = REQUIRED) -> dict:
    """Return ``sample`` unchanged if it keeps the contract above.

    Raises:
        ValueError: names the sample, the key, what was found and what the contract wants.
    """
    name = sample.get("id", "?")
    for key in required:
        if key not in sample:
            raise ValueError(f"sample {name!r} lacks {key!r}; it has {', '.join(sorted(sample))}")
    if sample.get("category", CATEGORIES[0]) not in CATEGORIES:
        raise ValueError(
            f"sample {name!r}: category {sample['category']!r} is none of {', '.join(CATEGORIES)}"
        )
    for key in (*PICTURES, *MASKS, *LABEL_MAPS):
        if key in sample:
            _check_map(name, key, sample[key], sample)
    _check_structures(name, sample)
    for key in KEYPOINTS:
        points = sample.get(key)
        if points is not None and (points.shape != (25, 3) or points.dtype != np.float32):
            raise ValueError(
                f"sample {name!r}: {key!r} must be (25, 3) float32, not "
                f"{tuple(points.shape)} {points.dtype}"
            )
    return sample


def _check_map(name: str, key: str, value: np.ndarray, sample: dict) -> None:
    dims = 3 if key in PICTURES else 2
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.ndim != dims:
        found = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value)
        wanted = "(H, W, 3)" if dims == 3 else "(H, W)"
        raise ValueError(f"sample {name!r}: {key!r} must be a uint8 array {wanted}, not {found}")
    if dims == 3 and value.shape[2] != 3:
        raise ValueError(f"sample {name!r}: {key!r} must have 3 channels, not {value.shape[2]}")
    under = owner(key)
    if under in sample and value.shape[:2] != sample[under].shape[:2]:
        raise ValueError(
            f"sample {name!r}: {key!r} is {value.shape[0]}x{value.shape[1]} but {under!r} is "
            f"{sample[under].shape[0]}x{sample[under].shape[1]} (height x width)"
        )
    if key in MASKS and value.max(initial=0) > 1:
        raise ValueError(
            f"sample {name!r}: mask {key!r} must hold 0 and 1 only (1 = to be generated), "
            f"its largest value is {int(value.max())}"
        )


def _check_structures(name: str, sample: dict) -> None:
    for key, _ in truths(sample):
        kind = FlowField if key.startswith("flow") else Correspondences
        if not isinstance(sample[key], kind):
            found = type(sample[key]).__name__
            raise ValueError(f"sample {name!r}: {key!r} must be {kind.__name__}, not {found}")
        if kind is FlowField and sample[key].size != sample["person"].shape[:2]:
            raise ValueError(
                f"sample {name!r}: {key!r} is {sample[key].size} but 'person' is "
                f"{sample['person'].shape[:2]} (height, width)"
            )


@FUNCTIONS.register_module(name="collate_samples")
def collate(samples: Sequence[dict]) -> dict:
    """Stack samples into a batch; see the module's table.

    In a config: ``collate_fn=dict(type="collate_samples")``.

    Raises:
        ValueError: the samples of a batch differ in size; names both.
    """
    keys = [k for k in samples[0] if k not in _PRIVATE and all(k in s for s in samples)]
    shapes = {key: _batch_shape(key, samples) for key in keys if key in _STACKED}
    rest = {key: None if key in shapes else _collected(key, samples) for key in keys}
    large = sum(math.prod(shape) for shape in shapes.values()) >= _LARGE
    shipment = ship(rest, shapes) if large and get_worker_info() is not None else None
    for key, shape in shapes.items():
        if shipment is not None:
            _fill(shipment.array(key), key, samples)
        else:
            rest[key] = torch.empty(shape, dtype=torch.uint8)
            _fill(rest[key].numpy(), key, samples)
    return rest if shipment is None else shipment


def _collected(key: str, samples: Sequence[dict]) -> torch.Tensor | list:
    values = [sample[key] for sample in samples]
    if key == "position":
        return torch.tensor(values, dtype=torch.int64)
    return torch.from_numpy(np.stack(values)) if key in KEYPOINTS else values


def _batch_shape(key: str, samples: Sequence[dict]) -> tuple[int, ...]:
    first = samples[0][key].shape
    for sample in samples:
        if sample[key].shape != first:
            raise ValueError(
                f"one batch cannot hold two sizes: {key!r} of {samples[0]['id']!r} is "
                f"{first}, of {sample['id']!r} {sample[key].shape}; set the data set's `size`"
            )
    if key in PICTURES:
        return (len(samples), 3, *first[:2])
    return (len(samples), 1, *first) if key in MASKS else (len(samples), *first)


def _fill(batch: np.ndarray, key: str, samples: Sequence[dict]) -> None:
    import cv2

    for target, sample in zip(batch, samples, strict=True):
        if key in PICTURES:  # (H, W, 3) to (3, H, W): ten times faster than torch's copy
            cv2.split(np.ascontiguousarray(sample[key]), list(target))
        else:
            target[...] = sample[key]
