"""The pages of every registered class and its options, from docstrings and signatures."""

import inspect
import re
from functools import cache
from html import escape

from vtonlab import registry
from vtonlab.engine.running import registries as running

PAGES = {  # page -> title, registries, what is said above
    "attention_losses": (
        "Attention losses",
        ["ATTENTION_LOSSES"],
        "Entries of `model.attention_losses`: they read records and the batch, and all take "
        "the arguments of [AttentionLoss](#vtonlab.losses.base.AttentionLoss).",
    ),
    "losses": (
        "Picture losses",
        ["LOSSES"],
        "Image and adversarial losses of the systems that draw in one pass, and of codecs.",
    ),
    "conditioners": ("Conditioners", ["CONDITIONERS"], "How the garment enters the backbone."),
    "backbones": (
        "Backbones and codecs",
        ["BACKBONES"],
        "Beside these every network of diffusers is known by its own class name.",
    ),
    "matchers": ("Matchers", ["MATCHERS"], "External person-to-garment correspondence."),
    "datasets": (
        "Data sets and samplers",
        ["DATASETS", "DATA_SAMPLERS"],
        "Entries of `train_dataloader.dataset` and its like.",
    ),
    "transforms": (
        "Transforms",
        ["TRANSFORMS"],
        "Every map of a sample, and its correspondences, move together.",
    ),
    "estimators": ("Estimators", ["ESTIMATORS"], "They make the maps that a photograph lacks."),
    "models": ("Models", ["MODELS"], "Whole systems, and what averages their weights."),
    "sampling": (
        "Noise schedules and samplers",
        ["NOISE_SCHEDULES", "SAMPLERS"],
        "How training noises, and how a picture is drawn; a sampler says which schedules it fits.",
    ),
    "metrics": ("Metrics", ["METRICS"], "Entries of `test_evaluator`, `val_evaluator`, protocols."),
    "running": (
        "Loops, hooks, optimisers",
        ["LOOPS", "HOOKS", "OPTIM_WRAPPERS", "OPTIMIZERS", "OPTIM_WRAPPER_CONSTRUCTORS"],
        "What runs a training, beside mmengine's own.",
    ),
}
BASES = {"attention_losses": ["vtonlab.losses.base.AttentionLoss"]}


@cache
def registered(name: str) -> dict[str, type]:
    """Name -> class or function of ours in one registry."""
    found = getattr(registry if hasattr(registry, name) else running, name)
    known = {each: found.get(each) for each in registry.names(found)}
    return {k: v for k, v in known.items() if v.__module__.startswith("vtonlab.")}


def first_line(thing) -> str:
    """What a class says of itself: the first sentence, fit for a cell of a table."""
    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    sentence = re.split(r"(?<!eq)(?<!i\.e)(?<!e\.g)\. (?=[A-Z`])", text)[0].rstrip(".")
    return re.sub(r"``?([^`]+)``?", lambda m: f"<code>{escape(m[1])}</code>", sentence).replace(
        "|", "&#124;"
    )


def page(name: str) -> str:
    """Markdown of one page: a table, then every class by mkdocstrings."""
    title, registries, words = PAGES[name]
    rows, blocks = [], []
    for path in BASES.get(name, []):
        blocks.append(f"::: {path}\n")
    for each in registries:
        for key, thing in registered(each).items():
            path = f"{thing.__module__}.{thing.__qualname__}"
            rows.append(f"| [`{key}`](#{path}) | {first_line(thing)} |")
            blocks.append(f"::: {path}\n")
    where = ", ".join(f"`{each}`" for each in registries)
    head = f"# {title}\n\n{words}\n\nRegistry: {where} in `vtonlab.registry`.\n"
    if any(not hasattr(registry, each) for each in registries):
        head = head.replace("in `vtonlab.registry`", "in `vtonlab.registry` and mmengine's")
    return "\n".join([head, "| class | |", "|---|---|", *rows, "", *blocks])


def index() -> str:
    """The list of the lists."""
    rows = []
    for name, (title, registries, _) in PAGES.items():
        keys = [key for each in registries for key in registered(each)]
        links = [f"[`{key}`]({name}.md#{_path(registries, key)})" for key in keys]
        rows.append(f"| [{title}]({name}.md) | {', '.join(links)} |")
    text = (
        "# Everything that is registered\n\nMade from the code when this site is built: names are "
        "what a config's `type` says, arguments are what stands beside it. In a program:\n\n"
        "```python\nfrom vtonlab.registry import ATTENTION_LOSSES, names\n\n"
        "print(names(ATTENTION_LOSSES))  # your plugins too\n```\n\n| kind | classes |\n|---|---|\n"
    )
    return text + "\n".join(rows) + "\n"


def _path(registries: list[str], key: str) -> str:
    thing = next(registered(each)[key] for each in registries if key in registered(each))
    return f"{thing.__module__}.{thing.__qualname__}"


def names() -> list[str]:
    """Pages in the order of the navigation."""
    return [f"reference/{name}.md" for name in PAGES]


def pages() -> dict[str, str]:
    """File name -> Markdown."""
    return {"reference/index.md": index()} | {f"reference/{name}.md": page(name) for name in PAGES}
