custom_hooks = []
data_root = None
default_hooks = dict(
    checkpoint=dict(interval=6, max_keep_ckpts=2, type="SafeCheckpointHook"),
    guard=dict(type="SampleTraceHook"),
    logger=dict(interval=5, log_metric_by_epoch=False, type="LoggerHook"),
    param_scheduler=dict(type="ParamSchedulerHook"),
    pictures=dict(type="SavePicturesHook"),
    rng=dict(type="CounterRNGHook"),
    runtime_info=dict(type="RuntimeInfoHook"),
    sampler_seed=None,
    signal=dict(type="SaveOnSignalHook"),
    timer=dict(type="IterTimerHook"),
)
default_scope = "vtonlab"
env_cfg = dict(
    cudnn_benchmark=False,
    dist_cfg=dict(backend="nccl", timeout=1800),
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
)
experiment_name = "toy_run-1"
launcher = "none"
load_from = None
log_level = "ERROR"
log_processor = dict(by_epoch=False, type="LogProcessor", window_size=50)
model = dict(drop=0.0, type="ToyModel")
optim_wrapper = dict(optimizer=dict(lr=0.001, type="AdamW"), type="FiniteOptimWrapper")
param_scheduler = [
    dict(T_max=100, by_epoch=False, type="CosineAnnealingLR"),
]
randomness = dict(seed=3)
resume = False
test_cfg = dict()
test_dataloader = dict(
    batch_size=4,
    collate_fn=dict(type="default_collate"),
    dataset=dict(length=7, type="ToyDataset"),
    sampler=dict(type="EvalSampler"),
)
test_evaluator = dict(type="ToyMetric")
train_cfg = dict(max_iters=12, type="ResumableTrainLoop")
train_dataloader = dict(
    batch_size=4,
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="ToyDataset"),
    num_workers=0,
    sampler=dict(type="ResumableSampler"),
)
visualizer = dict(
    type="Visualizer",
    vis_backends=[
        dict(type="LocalVisBackend"),
    ],
)
work_dir = "/tmp/old_wd12"
