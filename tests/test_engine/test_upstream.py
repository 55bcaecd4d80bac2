"""What the engine depends on in mmengine; an upgrade that changes it fails here, by name."""

import inspect

import pytest
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, CheckpointLoader, Runner

OVERRIDDEN = {
    Runner.save_checkpoint: "out_dir filename file_client_args save_optimizer save_param_scheduler "
    "meta by_epoch backend_args",
    Runner.load_checkpoint: "filename map_location strict revise_keys",
    Runner.resume: "filename resume_optimizer resume_param_scheduler map_location",
    Runner.load_or_resume: "",
    Runner.build_dataloader: "dataloader seed diff_rank_seed",
    CheckpointHook._save_checkpoint: "runner",
    CheckpointHook._save_checkpoint_with_step: "runner step meta",
    CheckpointHook.before_train: "runner",
    OptimWrapper.update_params: "loss step_kwargs zero_kwargs",
    OptimWrapper.step: "kwargs",
    OptimWrapper.optim_context: "model",
    EMAHook._swap_ema_parameters: "",
    BaseLoop.__init__: "runner dataloader",
    CheckpointLoader.register_scheme: "prefixes loader force",
}


@pytest.mark.parametrize("function", OVERRIDDEN, ids=lambda f: f.__qualname__)
def test_signature_is_the_one_we_rely_on(function):
    parameters = [name for name in inspect.signature(function).parameters if name != "self"]
    assert parameters == OVERRIDDEN[function].split()


def test_the_runner_still_sets_the_loop_s_private_counters():
    source = inspect.getsource(Runner.resume)
    assert "self.train_loop._epoch" in source and "self.train_loop._iter" in source
