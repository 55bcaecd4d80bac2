"""Processes of a worker script, as tests start them: clean ones, without a start's imports.

A server process imports torch and vtonlab once, runs nothing, and is forked for each process: what
other tests did cannot reach it, and a start costs a tenth of a second instead of seven.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRELOAD = (
    "torch.distributed",
    "torch._dynamo.backends.debugging",
    "mmengine.runner",
    "diffusers.models.transformers.transformer_flux",
    "diffusers.models.unets.unet_2d_condition",
    "vtonlab.engine.running.training",
    "vtonlab.engine.testing.run",
    "vtonlab.models.try_on_diffusion",
    "vtonlab.synthetic.dataset",
)


def _server() -> multiprocessing.context.BaseContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    return context


def _run(
    script: str, arguments: list[str], env: dict[str, str], errors: str, out: str, cwd: str
) -> None:
    sys.stdout.flush()
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    os.environ.update(env)
    os.chdir(cwd)
    import torch

    torch.set_num_threads(int(env["OMP_NUM_THREADS"]))
    sys.path[:0] = [str(ROOT), str(Path(script).parent), *env.get("PYTHONPATH", "").split(":")]
    sys.argv = [script, *arguments]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        raise SystemExit(end.code) from None
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def start(
    script: Path,
    arguments: Sequence,
    env: Mapping[str, str],
    errors: Path,
    out: str | Path = os.devnull,
    cwd: str | Path = ".",
):
    """One process, started; ``errors`` gets its stderr, ``out`` its stdout."""
    own = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **env}
    words = [str(argument) for argument in arguments]
    files = [str(Path(place).absolute()) for place in (errors, out, cwd)]
    process = _server().Process(target=_run, args=(str(script), words, own, *files))
    process.start()
    return process


def run_script(script: Path, arguments: Sequence, *, timeout: float = 400) -> int:
    """Exit code of one process (negative: the signal that killed it)."""
    with tempfile.TemporaryDirectory() as folder:
        process = start(script, arguments, {}, Path(folder) / "errors")
        process.join(timeout)
        process.kill()
        return process.exitcode


def run_alone(
    script: Path, arguments: Sequence, *, cwd: Path, path: Path = ROOT, timeout: float = 400
) -> subprocess.CompletedProcess:
    """A tool as a user runs it, in a process of its own and from the folder ``cwd``; it may
    import what lies in ``path``.
    """
    with tempfile.TemporaryDirectory() as folder:
        errors, out = Path(folder) / "errors", Path(folder) / "out"
        process = start(script, arguments, {"PYTHONPATH": str(path)}, errors, out, cwd)
        process.join(timeout)
        process.kill()
        said = [path.read_text() if path.exists() else "" for path in (out, errors)]
        return subprocess.CompletedProcess([script, *arguments], process.exitcode, *said)


def run_ranks(
    worker: Path,
    arguments: Sequence[Sequence[str | Path]],
    *,
    timeout: float = 400,
    port: int | None = None,
) -> None:
    """Run ``worker`` once for each list of arguments, side by side, on the CPU and one thread each.

    With ``port`` they find in their environment what torchrun would put there. Fails with what the
    processes wrote to stderr unless all of them end with exit code 0. Where the system ended one
    for a wrong address they run once more: no code here is native, and gloo's own thread was seen
    to crash so (torch 2.15), once in some hundreds of runs.
    """
    codes, errors = _side_by_side(worker, arguments, timeout, port)
    if -signal.SIGSEGV in codes:
        warnings.warn(f"{worker.name}: a process crashed in native code: run again", stacklevel=2)
        codes, errors = _side_by_side(worker, arguments, timeout, port)
    assert not any(codes), errors[-6000:]


def _side_by_side(
    worker: Path, arguments: Sequence[Sequence[str | Path]], timeout: float, port: int | None
) -> tuple[list[int], str]:
    """Exit codes, and what all wrote to stderr."""
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for rank, own in enumerate(arguments):
            env = {} if port is None else _as_torchrun(rank, len(arguments), port)
            processes.append(start(worker, own, env, Path(folder) / str(rank)))
        try:
            for process in processes:
                process.join(timeout)
        finally:
            for process in processes:
                process.kill()
        for process in processes:
            process.join()
        errors = "\n".join(path.read_text() for path in sorted(Path(folder).iterdir()))
        return [process.exitcode for process in processes], errors


def _as_torchrun(rank: int, ranks: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
