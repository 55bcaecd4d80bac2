"""(c) What `--estimate` expects of each model that is trained here."""

from tools.card.measures import row
from tools.card.training import MODELS, settings_of

SECTION = "c. training steps"
PARALLEL = True


def cells(toy: bool) -> list[dict]:
    """One cell a model; none at toy size, whose networks the configs do not have."""
    return [] if toy else [{"name": name} for name in MODELS if "toy" not in name]


def run(cell: dict) -> list[dict]:
    """One row: GiB on a GPU, without a VAE where latents are drawn."""
    from vtonlab.engine.memory.estimate import estimate_memory

    parts = estimate_memory(settings_of(cell["name"]))
    total = parts["total"] - (parts["codec"] if cell["name"].startswith("FLUX") else 0)
    shown = {key: value / 2**30 for key, value in parts.items() if key != "total"}
    return [row(SECTION, f"estimate, {cell['name']}", None, "", gib=total / 2**30, **shown)]
