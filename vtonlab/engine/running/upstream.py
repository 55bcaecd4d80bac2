"""What is overridden in mmengine, in one list: name, arguments relied on, why, upstream issue.

Written against mmengine 0.10.7. ``tests/test_engine/test_running/test_upstream.py`` compares the
arguments with the installed version, so that an upgrade that changes them fails there, by name.
"""

from typing import NamedTuple


class Override(NamedTuple):
    """One place where vtonlab differs from, or leans on, mmengine."""

    target: str  # module:qualified name
    arguments: str  # without self
    ours: str
    why: str
    upstream: str  # issue or pull request of open-mmlab/mmengine; "-": none known


OVERRIDES = (
    Override(
        "mmengine.runner:Runner.build_logger",
        "log_level log_file kwargs",
        "running.runner:SafeRunner",
        "the console is quiet while a run is built",
        "-",
    ),
    Override(
        "mmengine.runner:Runner.call_hook",
        "fn_name kwargs",
        "running.runner:SafeRunner",
        "one screen says what starts, when all is built",
        "-",
    ),
    Override(
        "mmengine.runner:Runner.save_checkpoint",
        "out_dir filename file_client_args save_optimizer save_param_scheduler meta by_epoch "
        "backend_args",
        "running.runner:SafeRunner",
        "no pickled classes; atomic, with a manifest",
        "#1655",
    ),
    Override(
        "mmengine.runner:Runner.load_checkpoint",
        "filename map_location strict revise_keys",
        "running.runner:SafeRunner",
        "weights_only, strict, refuses another method; never runs meta['config']",
        "#1655",
    ),
    Override(
        "mmengine.runner:Runner.resume",
        "filename resume_optimizer resume_param_scheduler map_location",
        "running.runner:SafeRunner",
        "refuses other samples per iteration; shows config changes; restores smoothed logs",
        "#1655",
    ),
    Override(
        "mmengine.runner:Runner.load_or_resume",
        "",
        "running.runner:SafeRunner",
        "the newest valid checkpoint instead of what last_checkpoint names",
        "-",
    ),
    Override(
        "mmengine.runner:Runner.wrap_model",
        "model_wrapper_cfg model",
        "running.runner:SafeRunner",
        "shares parameters out (FSDP2); FSDPStrategy needs FlexibleRunner and the older FSDP",
        "-",
    ),
    Override(
        "mmengine.runner:Runner._init_model_weights",
        "",
        "running.runner:SafeRunner",
        "broadcasts every parameter, which one that is shared out does not allow",
        "-",
    ),
    Override(
        "mmengine.optim:OptimWrapper.load_state_dict",
        "state_dict",
        "running.optimizers:FiniteOptimWrapper",
        "moments of parameters that are shared out take their share of the file's",
        "-",
    ),
    Override(
        "mmengine.runner:BaseLoop.__init__",
        "runner dataloader",
        "running.loops:ResumableTrainLoop",
        "resumes by skipping in the sampler instead of loading every past batch",
        "#1520, #1633",
    ),
    Override(
        "mmengine.hooks:CheckpointHook._save_checkpoint_with_step",
        "runner step meta",
        "hooks:SafeCheckpointHook",
        "the old file goes after the new one is complete; at least two are kept",
        "-",
    ),
    Override(
        "mmengine.hooks:CheckpointHook._save_best_checkpoint",
        "runner metrics",
        "hooks:SafeCheckpointHook",
        "the old best goes after the new one is complete",
        "-",
    ),
    Override(
        "mmengine.hooks:CheckpointHook._save_checkpoint",
        "runner",
        "hooks:SafeCheckpointHook",
        "called when a signal ends the run",
        "-",
    ),
    Override(
        "mmengine.hooks:CheckpointHook.before_train",
        "runner",
        "hooks:SafeCheckpointHook",
        "sweeps what killed runs left; checks the interval against gradient accumulation",
        "-",
    ),
    Override(
        "mmengine.optim:OptimWrapper.update_params",
        "loss step_kwargs zero_kwargs",
        "running.optimizers:FiniteOptimWrapper",
        "a loss that is not finite stops before its backward pass",
        "-",
    ),
    Override(
        "mmengine.optim:OptimWrapper.step",
        "kwargs",
        "running.optimizers:FiniteOptimWrapper",
        "a gradient that is not finite stops before the step",
        "-",
    ),
    Override(
        "mmengine.optim:OptimWrapper.optim_context",
        "model",
        "running.optimizers:AutocastOptimWrapper",
        "bfloat16 and float16 on CPU too; AmpOptimWrapper refuses to run without a GPU",
        "#960",
    ),
    Override(
        "mmengine.optim:OptimWrapper.initialize_count_status",
        "model init_counts max_counts",
        "running.loops:ResumableTrainLoop",
        "OptimWrapperDict leaves telling its wrappers where the run is to the caller",
        "-",
    ),
    Override(
        "mmengine.optim:DefaultOptimWrapperConstructor.__init__",
        "optim_wrapper_cfg paramwise_cfg",
        "running.optimizers:MultiOptimWrapperConstructor",
        "mmengine has none for several optimisers",
        "-",
    ),
    Override(
        "mmengine.hooks:EMAHook._swap_ema_parameters",
        "",
        "hooks:SampleGridHook",
        "previews are drawn with the averaged weights",
        "-",
    ),
    Override(
        "mmengine.model:ExponentialMovingAverage.avg_func",
        "averaged_param source_param steps",
        "running.ema:WarmupEMA",
        "warm-up of the decay",
        "-",
    ),
    Override(
        "mmengine.runner:CheckpointLoader.register_scheme",
        "prefixes loader force",
        "checkpoints.files",
        "local files through our reader; remote ones refused",
        "#1655",
    ),
    Override(
        "mmengine.logging:HistoryBuffer.__init__",
        "log_history count_history max_length",
        "running.runner:SafeRunner",
        "smoothed logs continue after a resume without pickled buffers",
        "#1655",
    ),
    Override(
        "mmengine.runner:Runner.build_dataloader",
        "dataloader seed diff_rank_seed",
        "hooks:SampleGridHook",
        "the fixed batch of previews",
        "-",
    ),
    Override(
        "mmengine.utils:get_installed_path",
        "package",
        "config.inherit",
        "base configs of a package are found without pkg_resources, and on PYTHONPATH",
        "-",
    ),
    Override(
        "mmengine.registry:Registry.get",
        "key",
        "config.registered",
        "with --safe plain names of registered classes only",
        "-",
    ),
    Override(
        "mmengine.registry:Registry.switch_scope_and_registry",
        "scope",
        "config.registered",
        "with --safe `_scope_` imports no package",
        "-",
    ),
    Override(
        "mmengine.registry.registry:get_object_from_string",
        "obj_name",
        "config.registered",
        "with --safe no name is imported",
        "-",
    ),
)
