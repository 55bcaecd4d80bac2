"""README.md of an exported folder: a model card, made from what the run itself says."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vtonlab.evaluation.evaluate import report_lines
from vtonlab.exporting.forms import Form
from vtonlab.exporting.licences import Terms, of_base, of_data, tag_of
from vtonlab.models import TryOnDiffusion
from vtonlab.registry import FAMILIES
from vtonlab.utils.source import commit
from vtonlab.version import __version__

_HUB = re.compile(r"[\w.-]+/[\w.-]+")
_CONTENTS = {
    "transformer": "the network",
    "unet": "the network",
    "reference_unet": "the network that reads the garment",
    "image_encoder": "CLIP and what makes a token of it",
    "vae": "the codec of pictures",
    "scheduler": "noise levels",
    "prompts": "the prompt as the text encoders had it",
    "pytorch_lora_weights.safetensors": "the LoRA, for `load_lora_weights`",
    "vtonlab.safetensors": "parts that diffusers has no place for",
    "pipeline.py": "the pipeline",
    "model_index.json": "its parts and settings",
    "config.py": "vtonlab's config",
    "vtonlab_export.json": "what vtonlab reads back",
    "SHA256SUMS": "checked by vtonlab whenever it reads the folder; `sha256sum -c SHA256SUMS`",
}


@dataclass(frozen=True)
class Run:
    """What the card is told of the run.

    Attributes:
        config: as the model was trained.
        name: of the config.
        meta: of the checkpoint.
        results: facts of results folders (results.json), each printed with its protocol.
        scores: line on how they were measured -> name -> number, of shipped models.
        licence: of the exported weights, where the exporter says it.
    """

    config: Mapping[str, Any]
    name: str
    meta: Mapping[str, Any]
    results: Sequence[Mapping[str, Any]] = ()
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    licence: str | None = None
    commit: str | None = None  # of the training, where the checkpoint does not say


def write_card(
    folder: Path, model: TryOnDiffusion, form: Form, run: Run, repo: str | None, title: str
) -> None:
    """Write README.md from what lies in ``folder`` and what ``run`` says.

    Args:
        repo: name on the hub, for the lines on how to use it; None: the folder's place.
        title: where there is no ``repo``.
    """
    lora = bool(getattr(model.backbone, "peft_config", None))
    bases, place = bases_of(run.config), repo or "DIR"
    parts = [
        _front(bases, run, lora),
        f"# {repo.split('/')[-1] if repo else title}\n",
        _what(model, bases, lora),
        "## Use\n",
        _use(model, form, bases, lora, place),
        "## Scores\n",
        _scores(run),
        "## How it was made\n",
        _made(run),
        "## Terms\n",
        _terms(run, bases),
        "## Files\n",
        _files(folder),
    ]
    (folder / "README.md").write_text("\n".join(parts), encoding="utf-8")


def bases_of(config: Mapping[str, Any]) -> list[str]:
    """Names of the weights that training began from and that are not ours: hub names, and the last
    part of a local folder's path.
    """
    found = [config.get("pretrained"), *_paths(config.get("model") or {})]
    names = [str(name) for name in found if name]
    on_hub = [bool(_HUB.fullmatch(name)) and not Path(name).exists() for name in names]
    rows = zip(names, on_hub, strict=True)
    return list(dict.fromkeys(n if there else Path(n).name for n, there in rows))


def _paths(node: Any) -> Iterable[str]:
    if isinstance(node, Mapping):
        if node.get("type") == "from_pretrained" and node.get("path"):
            yield node["path"]
        for value in node.values():
            yield from _paths(value)


def _front(bases: list[str], run: Run, lora: bool) -> str:
    """The YAML that the hub reads."""
    kinds = [terms for _, terms in data_of(run.config)]
    rows = ["library_name: diffusers", "pipeline_tag: image-to-image"]
    rows.append(f"license: {run.licence or tag_of([*map(of_base, bases), *kinds])}")
    known = [name for name in bases if _HUB.fullmatch(name)]
    if known:
        rows += ["base_model:", *(f"- {name}" for name in known[:1])]
        rows.append(f"base_model_relation: {'adapter' if lora else 'finetune'}")
    rows += ["tags:", "- virtual-try-on", "- vtonlab", *(["- lora"] if lora else [])]
    return "\n".join(["---", *rows, "---\n"])


def _what(model: TryOnDiffusion, bases: list[str], lora: bool) -> str:
    height, width = model.size
    what = f"A {'LoRA' if lora else 'model'} for virtual try-on{f' on {bases[0]}' if bases else ''}"
    dresses = ", ".join(name.replace("_", " ") for name in model.categories)
    shown = [name for name in ("mask", "pose") if name in model.conditioner.needs]
    beside = f" Beside the two photographs it is shown {' and '.join(shown)}." if shown else ""
    return (
        f"{what}: a person and a garment in, the dressed person out, at {height}x{width} (height x "
        f"width). It dresses: {dresses}.{beside} Masks are white where the picture is generated.\n"
    )


def _use(model: TryOnDiffusion, form: Form, bases: list[str], lora: bool, place: str) -> str:
    pose = ", pose" if "pose" in model.conditioner.needs else ""
    known = _prompts(model)
    category = "" if "" in known or not known else f', category="{sorted(known)[-1]}"'
    names = ", ".join(
        f'"{name}"' for name in ("person", "garment", "mask", *(["pose"] if pose else []))
    )
    code = [
        "```python",
        "from diffusers import DiffusionPipeline",
        "from diffusers.utils import load_image",
        "",
        "pipe = DiffusionPipeline.from_pretrained(",
        f'    "{place}", custom_pipeline="{place}", trust_remote_code=True',
        ")  # it runs the pipeline.py of this folder: read it first",
        f'person, garment, mask{pose} = (load_image(f"{{n}}.png") for n in ({names}))',
        f'pipe(person, garment, mask{pose}{category}).images[0].save("dressed.png")',
        "```\n",
    ]
    rows = ["\n".join(code)]
    if form.stands_alone:
        rows.append("vtonlab need not be installed for this; `pipeline.py` is all its code.\n")
    else:
        rows.append(
            f"This needs vtonlab (`pip install vtonlab`), because {form.why}; without it, "
            "`from_pretrained` says so.\n"
        )
    if lora:
        rows.append(_stock(model, form, bases, place))
    rows.append(
        "With vtonlab, masks and poses are made from the photographs:\n\n```python\n"
        "from vtonlab.apis import TryOnInferencer\n\n"
        f'TryOnInferencer("{place}")("anna.jpg", "shirt.jpg").save("dressed.png")\n```\n'
        if place == "DIR"
        else "With vtonlab, masks and poses are made from the photographs: download the folder, "
        "then `TryOnInferencer(DIR)`.\n"
    )
    return "\n".join(rows)


def _stock(model: TryOnDiffusion, form: Form, bases: list[str], place: str) -> str:
    """How a LoRA goes into diffusers' own pipeline."""
    base, conditioner = bases[0] if bases else "BASE", model.conditioner
    pipeline = FAMILIES.find(model.backbone).pipeline
    references = [each.role for each in getattr(conditioner, "references", ())]
    if pipeline == "FluxPipeline":  # whose LoRAs its relatives read too
        pipeline = "FluxKontextPipeline" if references else "FluxFillPipeline"
    loader = "load_lora_weights" if _loads_loras(pipeline) else "transformer.load_lora_adapter"
    names = list(model.backbone.peft_config)
    if names == ["default"]:
        said = f"`{loader}({place!r})`"
    else:
        said = "; ".join(
            f"`{loader}({place!r}, weight_name='{name}.safetensors', adapter_name={name!r})`"
            for name in names
        )
    rows = [f"In diffusers' own pipeline: `{pipeline}.from_pretrained({base!r})`, then {said}."]
    if references:
        rows.append(f"The references, in this order: {', '.join(references)}.")
    if form.template == "panels":
        posed = " | pose" if "pose" in conditioner.needs else ""
        rows.append(
            f"The picture is the panels [garment | person{posed}] side by side, the mask white on "
            "the person's panel alone."
        )
        if posed:
            rows.append(
                "Pose tokens are clean at every step and stand at the person's positions: "
                "`pipeline.py` does both, the stock pipeline neither."
            )
    words = [f"`{text}`" for text in _prompts(model).values()]
    return " ".join([*rows, *(["Prompt:", *words] if words else [])]) + "\n"


def _prompts(model: TryOnDiffusion) -> Mapping[str, str]:
    """Category -> prompt, or one for all; empty for a model without words."""
    return getattr(getattr(model.conditioner, "prompt", None), "prompts", {})


def _loads_loras(pipeline: str) -> bool:
    import diffusers
    from diffusers.loaders.lora_base import LoraBaseMixin

    return issubclass(getattr(diffusers, pipeline), LoraBaseMixin)


def _scores(run: Run) -> str:
    if not run.results and not run.scores:
        return (
            "None were given when this folder was made: `tools/test.py --model DIR` measures, and "
            "prints every number with its protocol.\n"
        )
    rows = []
    for facts in run.results:
        rows += ["```text", *scores_of(facts), "```\n"]
    for how, scores in run.scores.items():
        rows += ["```text", how, *(f"{k:>28}: {v:.4f}" for k, v in scores.items()), "```\n"]
    return "\n".join(rows)


def scores_of(facts: Mapping[str, Any]) -> list[str]:
    """The lines of one results.json.

    Raises:
        KeyError, TypeError: it lacks a part that is printed.
    """
    head = f"{facts['setting'] or 'test'}, {facts['images']} pictures"
    return [head, *report_lines(facts)]


def _made(run: Run) -> str:
    meta, loader = run.meta, run.config.get("train_dataloader") or {}
    rows = [f"| config | `{run.name}` (`config.py` here is the whole of it) |"]
    trained = run.commit or meta.get("commit")
    rows.append(f"| trained at commit | {trained or 'not recorded'} |")
    rows.append(f"| exported by | vtonlab {__version__}, commit {commit() or 'of a package'} |")
    if run.config.get("load_from"):
        start = str(run.config["load_from"])
        start = start if start.startswith("zoo:") else Path(start).name  # no folders of a machine
        rows.append(f"| started from | `{start}` |")
    if meta.get("iter"):
        batch = meta.get("samples_per_iter") or loader.get("batch_size")
        kept = ", averaged weights (EMA)" if meta.get("averaged") else ""
        rows.append(f"| iterations | {meta['iter']} of {batch or '?'} samples{kept} |")
    for dataset, (words, _) in zip(datasets(run.config), data_of(run.config), strict=True):
        split = dataset.get("split")
        rows.append(f"| data | {words}{f', split {split}' if split else ''} |")
    losses = (run.config.get("model") or {}).get("attention_losses") or {}
    told = ", ".join(f"{n} ({each['type']}, {each.get('weight', 1)})" for n, each in losses.items())
    rows.append(f"| attention losses | {told or 'none'} |")
    if meta.get("as_released"):
        rows.append("| weights | published by the method's authors, converted |")
    return "\n".join(["| | |", "|---|---|", *rows, ""])


def datasets(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The training data sets of a config; wrappers are looked through."""
    found, todo = [], [(config.get("train_dataloader") or {}).get("dataset")]
    while todo:
        node = todo.pop(0)
        if isinstance(node, (list, tuple)):
            todo += node
        elif isinstance(node, Mapping):
            inner = [node[key] for key in ("dataset", "datasets") if key in node]
            todo += inner
            found += [] if inner else [node]
    return found


def data_of(config: Mapping[str, Any]) -> list[tuple[str, Terms]]:
    """Of each training data set, words and terms."""
    return [of_data(str(each.get("type"))) for each in datasets(config)]


def _terms(run: Run, bases: list[str]) -> str:
    rows = [f"- base {name}: {of_base(name).words}" for name in bases]
    rows += [f"- {words}: {terms.words}" for words, terms in dict(data_of(run.config)).items()]
    rows.append("- vtonlab's own code, `pipeline.py` among it: Apache-2.0")
    if run.licence:
        rows.append(f"- these weights: {run.licence}")
    rows += ["", "Who publishes weights answers for keeping to the terms of what they came from.\n"]
    return "\n".join(rows)


def _files(folder: Path) -> str:
    names = sorted(p.name for p in folder.iterdir())
    rows = [f"| `{name}` | {_CONTENTS[name]} |" for name in _CONTENTS if name in names]
    others = [n for n in names if n.endswith(".safetensors") and n not in _CONTENTS]
    rows += [f"| `{name}` | the LoRA of that name |" for name in others]
    if "SHA256SUMS" not in names:  # written last
        rows.append(f"| `SHA256SUMS` | {_CONTENTS['SHA256SUMS']} |")
    return "\n".join(["| | |", "|---|---|", *rows, ""])
