"""The training loop whose resumed run equals the uninterrupted one to the bit."""

import time

from mmengine.optim import OptimWrapperDict
from mmengine.runner import BaseLoop
from torch.utils.data import DataLoader

from vtonlab.engine.running.errors import LoaderError
from vtonlab.registry import LOOPS

WORKER_DEATH_S = 1.0  # within which the system reports a worker whose connection broke


@LOOPS.register_module()
class ResumableTrainLoop(BaseLoop):
    """Iteration-based training that resumes in O(1): the sampler skips, nothing is loaded again.

    Differs from mmengine's ``IterBasedTrainLoop``: the loader's iterator is made once, when
    training starts, after the sampler was told how many samples this rank has drawn; past batches
    are never replayed and the loop never sleeps (reliability.md 3.1). A batch, a dictionary, gets
    the key ``step``, the number of iterations done: schedules inside the model read it.

    Args:
        runner: mmengine runner.
        dataloader: a loader or its config; its sampler must have ``skip(drawn)``.
        max_iters: training iterations (not optimiser steps).
        val_begin: first iteration after which validation may run.
        val_interval: iterations between validations; the last iteration always validates.

    Raises:
        ValueError: the sampler cannot skip, or ends before ``max_iters``.
        LoaderError: a worker died, or gave nothing for the loader's ``timeout``.
    """

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        *,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
    ) -> None:
        super().__init__(runner, dataloader)
        if max_iters < 1 or int(max_iters) != max_iters:
            raise ValueError(f"train_cfg.max_iters must be a whole number >= 1, not {max_iters}")
        if val_interval < 1 or val_begin < 1:
            raise ValueError(
                f"train_cfg: val_interval={val_interval} and val_begin={val_begin} must be >= 1"
            )
        if not callable(getattr(self.dataloader.sampler, "skip", None)):
            raise ValueError(
                f"{type(self.dataloader.sampler).__name__} cannot skip: ResumableTrainLoop needs "
                f"train_dataloader.sampler=dict(type='ResumableSampler')"
            )
        self._max_iters = int(max_iters)
        self._epoch = 0  # mmengine's runner sets `_epoch` and `_iter` when it resumes
        self._iter = 0
        self.val_begin = val_begin
        self.val_interval = val_interval
        self.stop_training = False  # hooks may set it

    @property
    def max_epochs(self) -> int:
        """One: the whole training counts as one epoch for mmengine's hooks."""
        return 1

    @property
    def max_iters(self) -> int:
        return self._max_iters

    @property
    def epoch(self) -> int:
        return self._epoch

    @property
    def iter(self) -> int:
        """Iterations done."""
        return self._iter

    def run(self):
        """Train to ``max_iters``; returns the model.

        A validation loop that can `rehearse` does so first: what a metric cannot get is said before
        any training. A resumed run first repeats a validation that is due where it resumes: whether
        the run before came to it is not known.
        """
        self._count_from_here()
        rehearse = getattr(self.runner.val_loop, "rehearse", None)  # mmengine's loop has none
        if rehearse is not None:
            rehearse()
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        if self._iter > 0 and self._validates():
            self.runner.val_loop.run()
        self.dataloader.sampler.skip(self._iter * self.dataloader.batch_size)
        batches = iter(self.dataloader)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(self._next(batches))
            if self._validates():
                self.runner.val_loop.run()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_iter(self, data_batch: dict) -> None:
        """One iteration: hooks, forward, backward, and an optimiser step where it is due."""
        data_batch = {**data_batch, "step": self._iter}
        here = dict(batch_idx=self._iter, data_batch=data_batch)
        self.runner.call_hook("before_train_iter", **here)
        outputs = self.runner.model.train_step(data_batch, optim_wrapper=self.runner.optim_wrapper)
        self.runner.call_hook("after_train_iter", **here, outputs=outputs)
        self._iter += 1

    def _count_from_here(self) -> None:
        """Several optimisers: each learns where the run is (mmengine tells only a single one)."""
        wrappers = self.runner.optim_wrapper
        if isinstance(wrappers, OptimWrapperDict):
            for wrapper in wrappers.values():
                wrapper.initialize_count_status(self.runner.model, self._iter, self._max_iters)

    def _next(self, batches) -> dict:
        try:
            return next(batches)
        except StopIteration:
            raise ValueError(
                f"the training sampler ended after {self._iter} of {self._max_iters} iterations: "
                f"use an infinite one, sampler=dict(type='ResumableSampler')"
            ) from None
        except (ConnectionError, EOFError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader"):
                raise
            if not isinstance(error, RuntimeError):
                _await_torch_s_word()
            raise LoaderError(
                f"a loader worker died or hung before iteration {self._iter + 1} ({error}): it may "
                f"have been killed for want of memory; try a smaller train_dataloader.num_workers, "
                f"and continue with --resume"
            ) from error

    def _validates(self) -> bool:
        if self.runner.val_loop is None or self._iter < self.val_begin:
            return False
        return self._iter % self.val_interval == 0 or self._iter == self._max_iters


def _await_torch_s_word() -> None:
    """Hear of a worker's death here: torch's signal handler raises it once, wherever the program is
    by then, and would end it in the middle of what it says next.
    """
    try:
        time.sleep(WORKER_DEATH_S)
    except RuntimeError:
        pass
