"""Put trained weights into the box: float16 safetensors and a card under vtonlab/zoo/.

Example:
    python tools/ship.py configs/bases/dit_bold.py work_dirs/base/iter_3000.pth \
        --name base_dit --kind base --title "Base of the joint DiT toys"
    python tools/ship.py configs/coral/dit_bold.py work_dirs/coral/iter_600.pth \
        --name coral_synthetic --kind model --title "CORAL's toy" --results bench=work_dirs/a/test

The averaged weights are taken where training averaged. --results are folders that tools/test.py
wrote for this checkpoint, each after the split of people it is of: the scores go onto the card, and
tools/test.py --model scores on the first of these splits. The commands of the work directory and
the commit are noted. Exit codes: 0 done, 2 bad input (weights of more than 4 MB, too).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import hashlib
import os
import shlex
import subprocess
from pathlib import Path

MOST_BYTES = 4_000_000
SCORES = (
    "l1_inside", "l1_inside_fill", "l1_inside_copy", "l1_inside_plain", "share_of_the_way",
    "share_of_the_print", "ssim_inside", "psnr_outside", "print_contrast", "print_orientation",
    "attention_pck", "true_share", "true_share_head", "effective_cells", "drawn_error",
    "garment_mass", "warp_miou",
)  # fmt: skip


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="that it was trained with")
    parser.add_argument("checkpoint", help="iter_*.pth")
    parser.add_argument("--name", required=True, help="of the card")
    parser.add_argument("--kind", choices=("base", "model"), required=True)
    parser.add_argument("--title", required=True, help="one line for lists")
    parser.add_argument(
        "--results",
        nargs="+",
        default=[],
        metavar="SPLIT=FOLDER",
        help="results folders of tools/test.py",
    )
    parser.add_argument("--data", help="what it learned from, where its config tells a part only")
    parser.add_argument("--command", help="that trained it, where its work directory is not here")
    parser.add_argument("--commit", help="at which that was run; default: this one")
    return parser.parse_args(argv)


def main() -> int:
    args = parse_args()
    from vtonlab.engine.checkpoints.files import read_checkpoint, save_safetensors
    from vtonlab.engine.config.load import load_config
    from vtonlab.models import TryOnDiffusion
    from vtonlab.registry import MODELS
    from vtonlab.version import __version__
    from vtonlab.zoo.box import HERE, Card, write_card

    found = read_checkpoint(args.checkpoint)
    meta, config = found["meta"], load_config(args.config)
    scores, scored_on = {}, ""
    for text in args.results:
        split, equals, folder = text.partition("=")
        if not equals:
            raise ValueError(f"--results {text}: name the people, such as bench={text}")
        scores[split], scored_on = _scores(folder)
    kind = MODELS.get(config.model.type)
    training_only = tuple(getattr(kind, "train_only_prefixes", ()))
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in found["state_dict"].items()
        if not name.startswith(training_only)
    }
    path = HERE / f"{args.name}.safetensors"
    temporary = path.with_suffix(".new.safetensors")
    averaged = meta.get("averaged", "ema_state_dict" in found)
    facts = {"facts": meta["facts"], "iter": meta["iter"], "averaged": averaged}
    save_safetensors(half, temporary, {**facts, "vtonlab": __version__})
    for beside in HERE.glob(f"{temporary.name}.*"):
        beside.unlink()  # the card is its manifest
    if temporary.stat().st_size > MOST_BYTES:
        temporary.unlink()
        raise ValueError(f"{args.checkpoint} has more than {MOST_BYTES} bytes as float16")
    os.replace(temporary, path)
    here = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    card = Card(
        name=args.name,
        kind=args.kind,
        title=args.title,
        config=args.config,
        file=path.name,
        bytes=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        data=args.data or _learned_from(config, meta),
        command=args.command or _command(Path(args.checkpoint).parent, args.config),
        commit=args.commit or here.stdout.strip(),
        split=next(iter(scores), ""),
        scores=next(iter(scores.values()), {}),
        others=dict(list(scores.items())[1:]),
        scored_on=scored_on,
        photographs=issubclass(kind, TryOnDiffusion),
    )
    print(f"{write_card(card)}: {card.bytes} bytes, iteration {meta['iter']}", card.scores)
    return 0


def _learned_from(config, meta: dict) -> str:
    """How long, and from which weights, by the config."""
    samples = meta.get("samples_per_iter") or config.train_dataloader.batch_size
    start = f", from {config.load_from}" if config.get("load_from") else ""
    iterations = f"{meta['iter']} iterations of {samples} samples"
    return f"SyntheticTryOn as the config says, {iterations}{start}"


def _command(work_dir: Path, config: str) -> str:
    """The first start of the work directory's training, without the folder it wrote to."""
    commands = work_dir / "commands.txt"
    if not commands.is_file():
        return f"python tools/train.py {config}"
    words = shlex.split(commands.read_text(encoding="utf-8").splitlines()[0])
    if "--work-dir" in words:
        place = words.index("--work-dir")
        words[place : place + 2] = []
    return shlex.join(words)


def _scores(results: str) -> tuple[dict[str, float], str]:
    """Scores of a results folder, and a line on how they were measured."""
    from vtonlab.evaluation.results import read_results

    facts = read_results(results).facts
    metrics = facts["metrics"]
    steps = (facts.get("sampler") or {}).get("num_steps")
    line = f"{facts['images']} people, {steps} sampling step(s), seed {facts['seed']}, torch "
    found = {name: round(metrics[name], 4) for name in SCORES if metrics.get(name) is not None}
    return found, f"{line}{facts['torch']}, one CPU thread"


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
