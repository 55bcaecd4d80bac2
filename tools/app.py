"""The studio in a browser: try on, look where it looked, batches, data sets.

Opens with the shipped models and rendered people, so it works at once; `vtonlab app` is the same.
Only this machine can reach it unless --host says otherwise; then VTONLAB_STUDIO_PASSWORD in the
environment holds the password that visitors are asked for. Uploads lie in a temporary folder that
is emptied.

Example:
    python tools/app.py
    python tools/app.py --model work_dirs/my_run --device cuda --dtype bfloat16
    VTONLAB_STUDIO_PASSWORD=... python tools/app.py --host 0.0.0.0 --port 8080

Exit codes: 0 stopped, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import os


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", action="append", default=[], metavar="DIR", help="a model's folder; repeatable"
    )
    parser.add_argument("--checkpoint", help="of the one --model, which then is a config")
    parser.add_argument("--device")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=7860, help="0 takes a free one (default 7860)")
    parser.add_argument(
        "--max-upload", type=int, default=256, metavar="MIB", help="of one upload (default 256)"
    )
    parser.add_argument(
        "--max-pixels", type=int, default=100, metavar="MP", help="of one picture (default 100)"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    from vtonlab.engine.cli import OK
    from vtonlab.studio import Settings, Shelf, serve
    from vtonlab.studio.server import PASSWORD, check_settings

    if min(args.max_upload, args.max_pixels) < 1 or not 0 <= args.port < 65536:
        raise ValueError("--max-upload and --max-pixels are at least 1, --port is below 65536")
    settings = Settings(
        host=args.host,
        port=args.port,
        password=os.environ.get(PASSWORD) or None,
        upload_bytes=args.max_upload * 2**20,
        pixels=args.max_pixels * 10**6,
    )
    check_settings(settings)
    shelf = Shelf(args.model, args.checkpoint, device=args.device, dtype=args.dtype)
    serve(shelf, settings, lambda address: print(f"The studio is at {address}", flush=True))
    return OK


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
