"""(f) Seconds a picture, ours and diffusers' pipelines with the same modules in one process."""

from tools.benchmark import sampling
from tools.card.measures import DEVICE, row

SECTION = "f. sampling"
PARALLEL = False
MOST = 1.03  # of diffusers' time
LEVELS = 1  # of 255, between unguided pictures


def cells(toy: bool) -> list[dict]:
    """One cell for all systems."""
    size = ["64", "48"] if toy else ["512", "384"]
    more = ["--width", "16", "--steps", "1", "--repeats", "1"]
    if not toy:
        more = ["--width", "320", "--steps", "10", "--repeats", "5"]
    systems = ["one UNet"] if toy else list(sampling.SYSTEMS)
    asked = ["--systems", *systems, "--size", *size, *more, "--batches", "1"]
    return [{"seconds": 20, "toy": toy, "args": asked}]


def run(cell: dict) -> list[dict]:
    """A row a system, with and without guidance."""
    args = sampling.parse_args([*cell["args"], "--device", DEVICE])
    rows = []
    for system in args.systems:
        for guided in (False, True):
            if guided and (system == "panels" or cell["toy"]):
                continue
            found = sampling.measure(system, guided, args)[0]
            apart = found["levels_apart"]
            ok = found["ratio"] <= MOST and (apart is None or apart <= LEVELS)
            name = f"{system}, {'guided' if guided else 'unguided'}, {args.steps} steps"
            measured = {key: found[key] for key in ("ours", "diffusers", "ratio")}
            rows.append(
                row(
                    SECTION, name, None if cell["toy"] else ok, f"{MOST} x, {LEVELS} level",
                    **measured, levels=apart if apart is not None else "",
                )
            )  # fmt: skip
    return rows
