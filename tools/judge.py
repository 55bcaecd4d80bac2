"""Let a vision-language model judge a results folder: three criteria, 1 to 5, with agreement.

What it will cost is shown first; nothing is sent without --yes. The pictures of the people go to
the endpoint. Answers are kept in the folder: the same command goes on where it stopped.

Example:
    python tools/judge.py work_dirs/run/test --endpoint http://localhost:8000/v1 --model qwen --yes
    python tools/judge.py work_dirs/run/test --local models/Qwen2.5-VL-7B-Instruct --yes

The endpoint speaks OpenAI's chat completions; its key is read from VTONLAB_JUDGE_KEY.
Writes judge.json and judge_answers.jsonl into the folder. Exit codes: 0 done, 1 some questions
have no answer (run it again), 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import json


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import at_least

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", help="folder with results.json")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--endpoint", metavar="URL", help="such as http://localhost:8000/v1")
    who.add_argument("--local", metavar="MODEL", help="folder or hub name of a transformers model")
    parser.add_argument("--model", help="name of the model at the endpoint")
    parser.add_argument(
        "--repeats", type=at_least(1), default=3, help="per pair and criterion (default 3)"
    )
    parser.add_argument(
        "--control", type=float, default=0.2, help="share of pairs asked in another order too"
    )
    parser.add_argument(
        "--limit", type=at_least(1), help="only so many pairs, spread over the list"
    )
    parser.add_argument(
        "--max-side", type=at_least(1), default=768, help="of the pictures sent, pixels"
    )
    parser.add_argument("--workers", type=at_least(1), default=4, help="calls at once (default 4)")
    parser.add_argument("--timeout", type=float, default=60, help="seconds per call (default 60)")
    parser.add_argument(
        "--tries", type=at_least(1), default=3, help="calls per question (default 3)"
    )
    parser.add_argument("--price-in", type=float, default=0, help="per million tokens read")
    parser.add_argument("--price-out", type=float, default=0, help="per million tokens written")
    parser.add_argument("--yes", action="store_true", help="send; else only the cost is shown")
    return parser.parse_args(argv)


def main() -> int:
    args = parse_args()
    from vtonlab.engine.cli import FINDINGS, OK
    from vtonlab.evaluation.judge import Judge, JudgeSettings, LocalModel, OpenAIEndpoint, summarise
    from vtonlab.evaluation.judge.endpoints import Unusable
    from vtonlab.evaluation.results import read_results
    from vtonlab.structures.pair_store import write_atomic
    from vtonlab.utils.progress import Progress

    if args.endpoint and not args.model:
        raise ValueError("--endpoint needs --model, the name of the model there")
    endpoint = (
        OpenAIEndpoint(args.endpoint, args.model, timeout_s=args.timeout)
        if args.endpoint
        else LocalModel(args.local)
    )
    settings = JudgeSettings(
        repeats=args.repeats,
        control=args.control,
        limit=args.limit,
        max_side=args.max_side,
        tries=args.tries,
        workers=args.workers if args.endpoint else 1,
    )
    judge = Judge(read_results(args.results), endpoint, settings)
    cost = judge.cost(args.price_in, args.price_out)
    price = f", about {cost['price']:.2f}" if args.price_in or args.price_out else ""
    print(
        f"{cost['calls']} calls to {endpoint.name} ({cost['answered']} answers are there already), "
        f"about {cost['tokens_in']} tokens in and {cost['tokens_out']} out{price}",
        flush=True,
    )
    if not args.yes and cost["calls"]:
        print("nothing was sent: add --yes to ask")
        return OK
    gone = None
    try:
        judge.run(Progress("answers"))
    except Unusable as error:
        gone = str(error)
    summary = summarise(judge)
    path = judge.results.folder / "judge.json"
    write_atomic(path, (json.dumps(summary, indent=2) + "\n").encode())
    for name, found in summary["criteria"].items():
        if found["mean"] is not None:
            print(f"{name:>24}: {found['mean']:.3f}  {_details(found)}")
    print(f"{summary['answered']} of {summary['asked']} answers; written to {path}")
    if gone:
        raise ValueError(gone) if not judge.answers else FloatingPointError(gone)
    return FINDINGS if judge.failures else OK


def _details(found: dict) -> str:
    parts = []
    if found["ci95"]:
        parts.append("[{:.3f}, {:.3f}]".format(*found["ci95"]))
    if found["agreement_alpha"] is not None:
        parts.append(f"alpha {found['agreement_alpha']:.2f}")
    if found["exact_agreement"] is not None:
        parts.append(f"equal repeats {found['exact_agreement']:.0%}")
    if found["order_gap"] is not None:
        parts.append(f"order gap {found['order_gap']:+.2f}")
    return "  ".join(parts)


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
