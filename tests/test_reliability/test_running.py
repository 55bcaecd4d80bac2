"""What happens while a run runs: bad numbers, signals, locks, workers (R13, R36, R37, R38)."""

import copy
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch
import toy
from mmengine.hooks import Hook

from vtonlab.engine import NonFiniteError, build_runner
from vtonlab.engine.cli import sentence
from vtonlab.engine.config.load import finalize
from vtonlab.engine.hooks import SaveOnSignalHook
from vtonlab.engine.running.loops import LoaderError, ResumableTrainLoop
from vtonlab.engine.running.training import train
from vtonlab.utils.locking import WorkDirLock


def test_r13_a_poisoned_sample_stops_before_the_step_and_is_named(toy_config):
    toy_config.train_dataloader.dataset.poison = 3
    before = signal.getsignal(signal.SIGINT)  # a background job's shell ignores it
    config = copy.deepcopy(toy_config)
    with pytest.raises(NonFiniteError, match=r"iteration \d+ \(loss_a=nan.*item3\b.*loss is nan"):
        train(config)
    assert signal.getsignal(signal.SIGINT) is before  # given back
    runner = build_runner(toy_config)
    with pytest.raises(NonFiniteError):
        runner.train()
    for hook in runner.hooks:
        if isinstance(hook, SaveOnSignalHook):
            hook.after_train(runner)
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())


def test_r13_poisoned_steps_can_be_skipped_and_are_counted(toy_config):
    toy_config.train_dataloader.dataset.poison = 3
    toy_config.optim_wrapper.update(on_nonfinite="skip", max_skips=5)
    runner = train(toy_config)
    assert runner.iter == 20 and 1 <= runner.optim_wrapper.skips <= 5
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
    toy_config.optim_wrapper.max_skips = 0
    toy_config.work_dir += "b"
    with pytest.raises(NonFiniteError, match="more than max_skips"):
        train(toy_config)


class SendSignal(Hook):
    """Sends this process a signal in the middle of iteration 7."""

    def __init__(self, number: int) -> None:
        self.number = number

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == 6:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_r37_a_signal_saves_at_a_boundary_and_resumes_exactly(toy_config, number, code):
    toy_config.optim_wrapper.accumulative_counts = 2
    whole = copy.deepcopy(toy_config)
    whole.work_dir += "_whole"
    expected = train(whole).model.state_dict()

    handler = signal.getsignal(number)
    stopped = build_runner(toy_config)
    stopped.register_hook(SendSignal(number))
    with pytest.raises(SystemExit) as exit_code:
        stopped.train()
    assert exit_code.value.code == code and signal.getsignal(number) is handler
    assert (Path(toy_config.work_dir) / "iter_8.pth").is_file()  # 7 is in mid-accumulation

    toy_config.resume = True
    resumed = train(toy_config).model.state_dict()
    assert all(torch.equal(expected[k], v) for k, v in resumed.items())


def _hold(folder: str, ready, release) -> None:
    with WorkDirLock(folder):
        ready.set()
        release.wait(20)


def test_r38_one_run_per_work_directory(tmp_path):
    context = multiprocessing.get_context("fork")
    ready, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path), ready, release))
    other.start()
    assert ready.wait(20)
    with pytest.raises(ValueError, match=rf"in use by process {other.pid} on .*--work-dir"):
        WorkDirLock(tmp_path).__enter__()
    other.kill()  # the lock goes with its process
    other.join()
    with WorkDirLock(tmp_path):
        pass


def test_r13_a_poisoned_optimizer_of_several_is_named(toy_config):
    toy_config.model = dict(type="ToyAdversary")
    toy_config.optim_wrapper = copy.deepcopy(toy.TWO_OPTIMIZERS)
    toy_config.param_scheduler = None
    toy_config.train_dataloader.dataset.poison = 3
    with pytest.raises(NonFiniteError, match=r"item3\b.*the discriminator loss is nan"):
        train(toy_config)


@toy.DATASETS.register_module(force=True)
class DyingDataset(toy.ToyDataset):
    """Its worker is killed at the sample that is poisoned."""

    def __getitem__(self, key) -> dict:
        if key[0] == self.poison:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(key)


def test_r36_a_dead_worker_ends_the_run(toy_config):
    toy_config.train_dataloader.update(num_workers=1)
    toy_config.train_dataloader.dataset.update(type="DyingDataset", poison=3)
    finalize(toy_config, work_dir=toy_config.work_dir)
    assert toy_config.train_dataloader.timeout == 300  # one that hangs does not wait for ever
    with pytest.raises(LoaderError, match=r"a loader worker died .*iteration \d+ .*num_workers"):
        train(toy_config)


def test_r36_torch_s_late_word_of_a_death_is_heard_in_time():
    """The connection breaks first, and the signal that raises comes a moment later."""

    def late(signum, frame):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    def broken():
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        raise ConnectionResetError(104, "Connection reset by peer")
        yield

    before = signal.signal(signal.SIGALRM, late)
    loop = object.__new__(ResumableTrainLoop)
    loop._iter, loop._max_iters = 5, 10
    try:
        with pytest.raises(LoaderError, match=r"before iteration 6 .*reset by peer"):
            loop._next(broken())
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_r26_a_bad_sample_is_an_error_and_never_replaced(toy_config):
    """mmengine's own data sets draw another one in silence, up to a thousand times."""

    @toy.DATASETS.register_module(force=True)
    class BadSample(toy.ToyDataset):
        def __getitem__(self, key) -> dict:
            if key[0] == self.poison:
                raise ValueError("00017_00.jpg is truncated: replace it")
            return super().__getitem__(key)

    toy_config.train_dataloader.update(num_workers=1)
    toy_config.train_dataloader.dataset.update(type="BadSample", poison=3)
    with pytest.raises(ValueError) as error:
        train(toy_config)
    assert sentence(error.value) == "00017_00.jpg is truncated: replace it"
