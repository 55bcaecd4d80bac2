"""Closed registries: names that are registered, and no others.

mmengine's ``Registry.get`` imports and returns whatever a dotted name leads to, a plain one too
(``type="antigravity"`` imports that module: never here), and ``_scope_`` imports a package. Here is
the one place that switches this off, for mmengine's registries as for ours (listed in
`vtonlab.engine.running.upstream`).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import mmengine.registry.registry as upstream
from mmengine.registry import Registry

# Of mmengine's own classes those that neither write where a config says, nor import, nor load.
_HARMLESS = frozenset(
    "DefaultSampler InfiniteSampler ConcatDataset RepeatDataset ClassBalancedDataset Evaluator "
    "pseudo_collate default_collate CheckpointHook EarlyStoppingHook EMAHook EmptyCacheHook "
    "IterTimerHook LoggerHook ParamSchedulerHook RuntimeInfoHook DistSamplerSeedHook "
    "SyncBuffersHook LogProcessor EpochBasedTrainLoop IterBasedTrainLoop ValLoop TestLoop "
    "MMDistributedDataParallel MMSeparateDistributedDataParallel "
    "StochasticWeightAverage ExponentialMovingAverage "
    "MomentumAnnealingEMA BaseDataPreprocessor ImgDataPreprocessor DefaultOptimWrapperConstructor "
    "OptimWrapper AmpOptimWrapper ZeroRedundancyOptimizer LocalVisBackend TensorboardVisBackend "
    "Visualizer Constant ConstantInit Xavier XavierInit Normal NormalInit TruncNormal "
    "TruncNormalInit Uniform UniformInit Kaiming KaimingInit Caffe2Xavier Caffe2XavierInit".split()
)
_closed = False
_get, _switch = Registry.get, Registry.switch_scope_and_registry
_import_by_name = upstream.get_object_from_string


def close() -> None:
    """From now on this process resolves registered names only."""
    global _closed
    _closed = True


def reopen() -> None:
    """Undo `close`: dotted names are imported again, as mmengine does."""
    global _closed
    _closed = False


def is_closed() -> bool:
    return _closed


@contextmanager
def closed_as_before() -> Iterator[None]:
    """What a ``with`` block closes (reading a stranger's config) is open again after it."""
    global _closed
    before = _closed
    try:
        yield
    finally:
        _closed = before


def _get_registered(self: Registry, key: str):
    if not _closed:
        return _get(self, key)
    if not isinstance(key, str) or not key.isidentifier():
        raise ValueError(f"--safe refuses {key!r}: it is not the plain name of a registered class")
    found = _get(self, key)
    if found is not None and not _allowed(key, found):
        raise ValueError(f"--safe refuses {key!r}: what it does with its arguments is not bounded")
    return found


def _allowed(key: str, found) -> bool:
    home = str(getattr(found, "__module__", ""))
    if not home.startswith("mmengine."):
        return True  # ours, torch's and transformers' optimisers, what the caller registered
    return key in _HARMLESS or home.startswith("mmengine.optim.scheduler")


@contextmanager
def _switch_known(self: Registry, scope: str | None) -> Iterator[Registry]:
    if _closed and scope not in (None, "vtonlab", "mmengine"):
        raise ValueError(f"--safe refuses _scope_={scope!r}")
    with _switch(self, scope) as registry:
        yield registry


def _resolve_by_name(obj_name: str):
    """What a dotted name leads to. A plain one could only be a module, which is no class; looking
    for it on the disk, in one registry after another, was most of what checking a config took.
    """
    return None if _closed or "." not in obj_name else _import_by_name(obj_name)


Registry.get = _get_registered
Registry.switch_scope_and_registry = _switch_known
upstream.get_object_from_string = _resolve_by_name
