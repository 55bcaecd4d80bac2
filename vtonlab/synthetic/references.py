"""What a sample may show beside the garment: the second garment of an outfit, and somebody else who
wears the first.
"""

from collections.abc import Callable

import numpy as np

from vtonlab.ops.agnostic import agnostic_mask
from vtonlab.synthetic.garments import build_mesh, draw_garment, fit_under, flat_frame
from vtonlab.synthetic.outfit import FlatPicture, draw_cloth_on, parse_label, photograph
from vtonlab.synthetic.person_to_person import flow_between
from vtonlab.synthetic.render import FIRST_GARMENT, Picture, Worn, garment_truth, render
from vtonlab.synthetic.scene import OTHER_HALF, draw_backdrop, draw_companions, draw_person
from vtonlab.synthetic.truth import worn_region

Stream = Callable[[str], np.random.Generator]  # named random streams of a sample


def draw_second(
    rng: np.random.Generator, first: Worn, size: tuple[int, int], factor: int, split: str
) -> FlatPicture:
    """The garment that is worn with another: laid flat whole, worn as far as the other leaves it.

    Args:
        rng: source of randomness.
        first: worn over it where both meet; of the upper or the lower body.
        size, factor, split: see `draw_flat`.
    """
    h, w = size
    garment = draw_garment(rng, OTHER_HALF[first.mesh.garment.category])
    mesh = build_mesh(garment)
    frame = flat_frame(mesh, h / w, float(rng.uniform(0.03, 0.08)))
    cloth = draw_cloth_on(rng, h * factor, w * factor, split, None)
    rgb, mask, layers = photograph(rng, mesh, frame, cloth, size, factor)
    under = build_mesh(fit_under(garment, first.mesh.garment))
    return FlatPicture(rgb, mask, Worn(under, frame, cloth, 0.006, parse_label(garment), layers))


def second_garment(
    flat: FlatPicture, outfit: list[Worn], picture: Picture, shown: Picture
) -> dict[str, np.ndarray]:
    """Arrays of the second garment of ``outfit``: its picture, masks, and the flow from the true
    ``picture``; ``shown`` is the photograph that is given.
    """
    flow, visible = garment_truth(picture.fragments, picture.surface, outfit, 1)
    return {
        "garment_2": flat.rgb,
        "garment_mask_2": flat.mask,
        "worn_mask_2": worn_region(shown, FIRST_GARMENT + 1),
        "flow_2": flow,
        "visible_2": visible,
    }


def outfit_mask(labels: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """(h, w) uint8: the area that any two garments of both halves of the body may take."""
    halves = (agnostic_mask(labels, marks, category) for category in OTHER_HALF)
    return np.maximum.reduce(list(halves))


def worn_reference(
    stream: Stream,
    size: tuple[int, int],
    framing: float,
    hardness: float,
    first: Worn,
    picture: Picture,
    split: str,
) -> dict[str, np.ndarray]:
    """Arrays of a photograph of somebody else who wears the same garment: ``worn``, and the flow
    into it from ``picture``.

    Args:
        stream: named random streams of this sample.
        framing, hardness: of that person, as `SyntheticTryOn` takes them.
        first: the garment.
        picture: the true result.
    """
    garment, factor = first.mesh.garment, picture.factor
    person = draw_person(
        stream("wearer"), stream("wearer's view"), hardness, garment.category, size, framing
    )
    others = draw_companions(stream("wearer's outfit"), garment, size, factor, split)
    backdrop = draw_backdrop(stream("wearer's backdrop"), size, factor)
    other = render(person, [first, *others], backdrop, size, factor)
    flow, visible = flow_between(picture, other, first.mesh)
    return {"worn": other.rgb, "flow_worn": flow, "visible_worn": visible}
