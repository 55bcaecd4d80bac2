"""Tests run without what only training needs, whatever its class and slot are called."""

from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook

from vtonlab.engine.testing.run import drop_training
from vtonlab.registry import HOOKS


class OwnEMA(EMAHook):
    """A subclass of mmengine's averager."""


class OwnGuard(Hook):
    """A hook of a plugin that says when it runs."""

    only_while_training = True


def test_hooks_of_training_are_told_by_class(monkeypatch):
    for hook in (OwnEMA, OwnGuard):
        monkeypatch.setitem(HOOKS.module_dict, hook.__name__, hook)
    config = Config(
        dict(
            default_hooks=dict(
                timer=dict(type="IterTimerHook"),
                rng=dict(type="CounterRNGHook"),
                anything=dict(type="OwnGuard"),
                nothing=None,
            ),
            custom_hooks=[dict(type="OwnEMA"), dict(type="SampleGridHook", interval=1)],
            train_dataloader=dict(batch_size=1),
        )
    )
    drop_training(config)
    wanted = dict(
        timer=dict(type="IterTimerHook"), nothing=None, checkpoint=None, param_scheduler=None
    )
    assert config.default_hooks == wanted
    assert config.custom_hooks == [] and config.train_dataloader is None
