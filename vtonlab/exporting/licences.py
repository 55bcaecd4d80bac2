"""What is known of the terms of bases and data, for model cards; all else says: look yourself."""

from typing import NamedTuple


class Terms(NamedTuple):
    """Of one base or data set.

    Attributes:
        words: a sentence for a reader.
        tag: of the hub's model cards; ``"other"`` for terms that have none.
        commercial: whether they allow commercial use; None: not known here.
    """

    words: str
    tag: str = "other"
    commercial: bool | None = None


APACHE = Terms("Apache-2.0", "apache-2.0", True)
UNKNOWN = Terms("not known to vtonlab: read its page before you publish anything made from it")
# Hub name of a base, or how a name begins -> terms.
BASES = {
    "black-forest-labs/FLUX.2-klein-base-4B": APACHE,
    "black-forest-labs/FLUX.": Terms(
        "its maker's non-commercial licence, which covers what is derived from the weights",
        commercial=False,
    ),
    "stabilityai/stable-diffusion-3.5": Terms("Stability AI Community License"),
    "stabilityai/stable-diffusion-xl": Terms("CreativeML Open RAIL++-M", "openrail++", True),
    "stabilityai/sd-vae-ft-mse": Terms("MIT", "mit", True),
    "stable-diffusion-v1-5/": Terms("CreativeML Open RAIL-M", "creativeml-openrail-m", True),
    "diffusers/stable-diffusion-xl": Terms("CreativeML Open RAIL++-M", "openrail++", True),
    "Qwen/Qwen-Image": APACHE,
}
# Class of a data set -> its name and terms.
DATA = {
    "SyntheticTryOn": ("people rendered by vtonlab, nobody of whom exists", APACHE),
    "VITONHDDataset": (
        "photographs in VITON-HD's layout",
        Terms("VITON-HD itself is CC BY-NC 4.0: no commercial use", commercial=False),
    ),
    "DressCodeDataset": (
        "photographs in Dress Code's layout",
        Terms("Dress Code itself is for academic research alone, by agreement", commercial=False),
    ),
    "DeepFashionDataset": (
        "photographs in DeepFashion's layout",
        Terms("DeepFashion itself is for non-commercial research alone", commercial=False),
    ),
}


def of_base(name: str) -> Terms:
    """Terms of a base by its hub name."""
    found = [known for known in BASES if name.startswith(known)]
    return BASES[max(found, key=len)] if found else UNKNOWN


def of_data(kind: str) -> tuple[str, Terms]:
    """What a data set's class reads, and the terms."""
    return DATA.get(kind, (f"data read by {kind}", UNKNOWN))


def tag_of(terms: list[Terms]) -> str:
    """The hub's tag of a model made from all of these: the one that they share, or ``"other"``."""
    tags = {each.tag for each in terms if each.tag != APACHE.tag}
    return tags.pop() if len(tags) == 1 else "other" if tags else APACHE.tag
