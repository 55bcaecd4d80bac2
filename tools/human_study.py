"""Ask people: blind sheets from results folders, and what the answers say.

Example:
    python tools/human_study.py export work_dirs/a/test work_dirs/b/test --out study --pairs 50
    python tools/human_study.py analyse study answers_1.csv answers_2.csv

export writes sheet.html and pictures/ (give these to the raters: a page that works offline and
saves a CSV) and key.json (keep it: it names the systems). analyse writes study.json beside the key
and into the results folders, where tools/report.py finds it.
Exit codes: 0 done, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import json
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import at_least

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    export = verbs.add_parser("export", help="write the sheets")
    export.add_argument("results", nargs="+", help="folders with results.json")
    export.add_argument("--out", required=True, help="new folder")
    export.add_argument("--design", choices=("pairwise", "criteria"), default="pairwise")
    export.add_argument("--pairs", type=at_least(1), default=50, help="try-on pairs (default 50)")
    export.add_argument(
        "--checks", type=float, default=0.1, help="share of items repeated with sides swapped"
    )
    export.add_argument("--seed", type=int, default=0)
    analyse = verbs.add_parser("analyse", help="win rates and intervals")
    analyse.add_argument("study", help="folder that export wrote")
    analyse.add_argument("answers", nargs="+", help="CSV files of the raters")
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args()
    from vtonlab.evaluation.human_study import KEY, analyse_study, export_study, read_answers
    from vtonlab.evaluation.results import read_results
    from vtonlab.structures.pair_store import write_atomic
    from vtonlab.utils.bounded import read_json

    if args.verb == "export":
        systems = [read_results(folder) for folder in args.results]
        key = export_study(
            systems,
            args.out,
            design=args.design,
            pairs=args.pairs,
            checks=args.checks,
            seed=args.seed,
        )
        print(f"{len(key['items'])} items of {key['pairs']} pairs in {args.out}/sheet.html")
        print(f"keep {args.out}/{KEY}: it says which picture is whose")
        return
    path = Path(args.study) / KEY
    if not path.is_file():
        raise FileNotFoundError(f"{args.study} has no {KEY}: it is no study that export wrote")
    key = read_json(path)
    study = analyse_study(key, read_answers(args.answers, key))
    text = (json.dumps(study, indent=2) + "\n").encode()
    for folder in [path.parent, *(Path(folder) for folder in key["folders"])]:
        if folder.is_dir():  # tools/report.py shows it beside the scores
            write_atomic(folder / "study.json", text)
    print(f"{study['answers']} answers of {study['raters']} raters")
    for name, found in study.get("win_rates", {}).items():
        if found["rate"] is None:
            print(f"{name:>24}: no answer")
            continue
        low, high = found["ci95"]
        print(f"{name:>24}: wins {found['rate']:.1%}  [{low:.1%}, {high:.1%}]  n={found['n']}")
    for question, found in study.get("criteria", {}).items():
        for name, score in found["systems"].items():
            if score["mean"] is None:
                print(f"{question:>24}: {name} no answer")
                continue
            low, high = score["ci95"] or (score["mean"], score["mean"])
            print(f"{question:>24}: {name} {score['mean']:.2f}  [{low:.2f}, {high:.2f}]")
    print(f"written to {path.with_name('study.json')}")


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
