"""Throughput of the data loader against its floor: decoding the same files and nothing else.

Example:
    python tools/benchmark/loader.py data/vitonhd
    python tools/benchmark/loader.py data/vitonhd --workers 8 --batch-size 8 --out loader.json

Four ways, with the same number of processes each: Pillow alone and the project's reader alone on
all maps of everybody, the loader (all maps, uint8, collated, as the data preprocessor receives
them), and the loader from shards of the same files. Each has a rate (people per second; the best of
alternating rounds counts) and a cost (processor seconds per person, of workers and main process
together; it means the same on a busy machine).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import io
import json
import os
import platform
import tempfile
import time
from pathlib import Path

MAPS = ("agnostic", "mask", "garment_mask", "worn_mask", "pose", "parse")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import at_least

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data_root", help="a VITON-HD tree")
    parser.add_argument("--split", default="train", choices=("train", "test"))
    parser.add_argument(
        "--size", type=at_least(1), nargs=2, default=(1024, 768), metavar=("H", "W")
    )
    parser.add_argument("--workers", type=at_least(0), default=2)
    parser.add_argument("--batch-size", type=at_least(1), default=2)
    parser.add_argument(
        "--samples", type=at_least(1), default=120, help="of one round (default 120)"
    )
    parser.add_argument("--rounds", type=at_least(1), default=5)
    parser.add_argument("--out", help="write the numbers there as JSON")
    return parser.parse_args(argv)


def modes(files: dict) -> list[tuple]:
    """(file, mode of the reader) of every picture of a sample."""
    from vtonlab.structures.sample import LABEL_MAPS, MASKS

    def mode(name: str) -> str:
        return "mask" if name in MASKS else "labels" if name in LABEL_MAPS else "rgb"

    return [(path, mode(name)) for name, path in files.items() if path.suffix != ".json"]


def decode_all(files: list[tuple]) -> int:
    """The project's reader alone."""
    from vtonlab.utils.images import read_image

    return sum(read_image(path, mode).size for path, mode in files)


def decode_with_pillow(files: list[tuple]) -> int:
    """Pillow alone, without checks."""
    import numpy as np
    from PIL import Image

    total = 0
    for path, mode in files:
        image = Image.open(io.BytesIO(path.read_bytes()))
        total += np.array(image if mode != "rgb" else image.convert("RGB")).size
    return total


class Alone:
    """A data set whose samples are numbers: what its workers do is decode."""

    def __init__(self, dataset, decode) -> None:
        self.files = [modes(dataset.files(i)) for i in range(len(dataset))]
        self.decode = decode

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, key) -> int:
        return self.decode(self.files[key.index])


def first(samples: list) -> int:
    """Collates numbers."""
    return samples[0]


class Way:
    """One loader whose workers live on between rounds."""

    def __init__(self, dataset, collate, args: argparse.Namespace) -> None:
        from multiprocessing import active_children

        from torch.utils.data import DataLoader

        from vtonlab.datasets import ResumableSampler

        loader = DataLoader(
            dataset,
            batch_size=args.batch_size,
            sampler=ResumableSampler(dataset),
            num_workers=args.workers,
            collate_fn=collate,
        )
        others = {child.pid for child in active_children()}
        self.batches, self.args = iter(loader), args
        self.workers = [c.pid for c in active_children() if c.pid not in others]
        self.rates, self.costs = [], []
        self._take(8 * args.workers)

    def _take(self, batches: int) -> None:
        for _ in range(batches):
            next(self.batches)

    def _spent(self) -> float:
        """Processor seconds of this process and the workers."""
        import psutil

        times = [psutil.Process(pid).cpu_times() for pid in (*self.workers, os.getpid())]
        return sum(t.user + t.system for t in times)

    def run(self) -> None:
        """One round; what was fetched ahead is taken first and not counted in the rate."""
        count = max(1, self.args.samples // self.args.batch_size)
        spent = self._spent()
        self._take(2 * self.args.workers)
        start = time.perf_counter()
        self._take(count)
        self.rates.append(count * self.args.batch_size / (time.perf_counter() - start))
        people = (count + 2 * self.args.workers) * self.args.batch_size
        self.costs.append((self._spent() - spent) / people)

    def result(self) -> dict:
        """Best rate, least cost, and all of them."""
        return dict(rate=max(self.rates), cost=min(self.costs), rates=self.rates, costs=self.costs)


def measure(args: argparse.Namespace) -> dict:
    """All ways, and their shares of what the reader alone reaches."""
    from vtonlab.datasets import ShardDataset, VITONHDDataset
    from vtonlab.structures.sample import collate

    size = tuple(args.size)
    dataset = VITONHDDataset(
        data_root=args.data_root, split=args.split, size=size, maps=MAPS, missing="skip"
    )
    with tempfile.TemporaryDirectory() as folder:
        write_shards(dataset, Path(folder))
        shards = ShardDataset(data_root=folder, split=args.split, size=size, maps=MAPS)
        ways = dict(
            pillow=Way(Alone(dataset, decode_with_pillow), first, args),
            reader=Way(Alone(dataset, decode_all), first, args),
            loader=Way(dataset, collate, args),
            shards=Way(shards, collate, args),
        )
        for _ in range(args.rounds):
            for way in ways.values():
                way.run()
        found = {name: way.result() for name, way in ways.items()}
    floor = found["reader"]
    return dict(
        ways=found,
        shares={
            name: dict(rate=found[name]["rate"] / floor["rate"], cost=floor["cost"] / way["cost"])
            for name, way in found.items()
        },
        settings={k: v for k, v in vars(args).items() if k not in ("out", "data_root")},
        people=len(dataset),
        maps=MAPS,
        machine=f"{platform.processor() or platform.machine()}, Python {platform.python_version()}",
    )


def write_shards(dataset, folder: Path) -> None:
    """The same files as shards."""
    import importlib.util

    path = Path(__file__).parents[1] / "make_shards.py"
    spec = importlib.util.spec_from_file_location("make_shards", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write_set(dataset, None, folder / dataset.split, 10**8, "error")


def main() -> int:
    args = parse_args()
    import cv2
    import torch

    for name in ("workers", "batch_size", "samples", "rounds"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1")
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    found = measure(args)
    print(f"{'':8} people/s  of the reader  processor ms/person  of the reader")
    for name, way in found["ways"].items():
        share = found["shares"][name]
        print(
            f"{name:8} {way['rate']:8.2f} {share['rate']:14.2f} {1000 * way['cost']:20.1f} "
            f"{share['cost']:14.2f}"
        )
    if args.out:
        Path(args.out).write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
