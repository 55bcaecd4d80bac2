"""What a model card is told: found beside a checkpoint, or on the card of a shipped model."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vtonlab.engine.checkpoints.exported import CONFIG, digest, is_export, read_about
from vtonlab.engine.checkpoints.files import read_checkpoint, read_meta
from vtonlab.engine.config.load import load_config, run_name
from vtonlab.engine.config.released import released_options
from vtonlab.evaluation.results import RESULTS, read_results
from vtonlab.exporting.card import Run, scores_of
from vtonlab.exporting.folder import LEFT_OUT
from vtonlab.utils.bounded import naming
from vtonlab.zoo import Card


def run_of(
    config: str | Path,
    checkpoint: str | Path,
    *,
    options: Mapping[str, Any] | None = None,
    results: Sequence[str | Path] = (),
    shipped: Card | None = None,
    licence: str | None = None,
    commit: str | None = None,
) -> Run:
    """The facts of a training run.

    Args:
        config, checkpoint, options: as for `vtonlab.exporting.export_model`.
        results: folders of tools/test.py; none: those in the checkpoint's folder that are of it.
        shipped: its own card, for a model of the box.
        licence, commit: where the run does not say.
    """
    options = released_options(options or {}, checkpoint=checkpoint)
    tests = [_facts(Path(folder)) for folder in results] or list(_tests_of(Path(checkpoint)))
    scores = {}
    for split in () if shipped is None else (shipped.split, *shipped.others):
        found = shipped.scores_on(split)
        scores |= {f"people of {split!r}; {shipped.scored_on}": found} if found else {}
    return Run(
        config=load_config(config, options).to_dict(),
        name=_name(config) if shipped is None else shipped.config,
        meta=_meta(checkpoint) | ({"as_released": True} if options.get("as_released") else {}),
        results=tests,
        scores=scores,
        licence=licence or (shipped.licence.lower() if shipped else None),
        commit=commit or (shipped.commit if shipped else None),
    )


def paths_of_this_machine(config: Mapping[str, Any], key: str = "") -> list[str]:
    """``key=path`` of each value that tells folders of this machine: a reader need not know."""
    found = []
    for name, value in config.items():
        here = f"{key}.{name}".lstrip(".")
        if isinstance(value, Mapping):
            found += paths_of_this_machine(value, here)
        elif isinstance(value, str) and here not in LEFT_OUT and value.startswith(("/", "~")):
            found.append(f"{here}={value}")
    return found


def _name(config: str | Path) -> str:
    """Of a config; the copy in a work directory is called like all others, the directory not."""
    path = Path(config)
    return path.absolute().parent.name if path.name == CONFIG else str(run_name(config))


def _meta(checkpoint: str | Path) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    path = Path(checkpoint)
    if is_export(path):
        return read_about(path)["meta"]
    if path.suffix == ".safetensors":
        return read_meta(path)
    found = read_checkpoint(path, lazy=True)
    return {"averaged": "ema_state_dict" in found} | found.get("meta", {})


def _tests_of(checkpoint: Path) -> Iterator[dict[str, Any]]:
    """Results up to two folders below the checkpoint that were drawn with it."""
    if checkpoint.is_dir():
        return
    known = digest(checkpoint)
    for pattern in (f"*/{RESULTS}", f"*/*/{RESULTS}"):
        for path in sorted(checkpoint.parent.glob(pattern)):
            try:
                found = _facts(path.parent)
            except (ValueError, OSError):
                continue  # somebody else's file of that name, or half of a test
            if found.get("sha256") == known:
                yield found


def _facts(folder: Path) -> dict[str, Any]:
    """results.json of a folder, with all that the card prints of it."""
    facts = read_results(folder).facts
    with naming(folder / RESULTS):
        scores_of(facts)
    return facts
