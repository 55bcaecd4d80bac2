"""What every training run of vtonlab shares: hooks, logs, environment, seed."""

default_scope = "vtonlab"

default_hooks = dict(
    runtime_info=dict(type="LateRuntimeInfoHook"),
    timer=dict(type="IterTimerHook"),
    sampler_seed=None,
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),  # by iteration
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="SafeCheckpointHook", interval=1000, max_keep_ckpts=2),
    rng=dict(type="CounterRNGHook"),
    guard=dict(type="SampleTraceHook"),
    supervision=dict(type="SupervisedShareHook"),
    dead_losses=dict(type="DeadLossHook"),
    signal=dict(type="SaveOnSignalHook"),
    pictures=dict(type="SavePicturesHook"),  # of tests
)
custom_hooks = []

log_processor = dict(type="LogProcessor", window_size=50, by_epoch=False)
visualizer = dict(
    type="Visualizer",
    vis_backends=[dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")],
)
log_level = "INFO"

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl", timeout=1800),
)
randomness = dict(seed=0)
data_root = None
as_released = False  # True: a system's table `released`, as its authors' program runs
load_from = None
resume = False
