"""The attention losses that the synthetic benchmark compares, each with its weight on `val`.

Read by the grids beside it; no grid itself.
"""


def losses(layers: list[str], half: int, coral: dict) -> dict[str, dict]:
    """Row -> its attention losses on ``layers``; ``half`` is half of the iterations, ``coral`` what
    CORAL's two do otherwise (``layers``, ``heads``, ``weight`` of the distillation).
    """
    shared = dict(layers=layers, t_max=None)
    at = dict(layers=coral.get("layers", layers), t_max=None)
    at |= dict(heads=coral["heads"]) if "heads" in coral else {}
    flow = dict(temperature=1.0, upsample=False, min_grid_ratio=1 / 32)
    distilled = dict(
        type="CorrespondenceDistillationLoss",
        form="cross_entropy",
        head_reduction="none",
        weight=coral.get("weight", 0.1),
        **at,
    )
    sharpened = dict(
        type="AttentionEntropyLoss", weight=0.05, start_iter=half, warmup_iters=100, **at
    )
    return {
        "none": dict(),
        "CORAL": dict(correspondence=distilled, entropy=sharpened),
        "keypoints": dict(keypoints=dict(type="KeypointAttentionLoss", weight=0.1, **shared)),
        "flow": dict(flow=dict(type="AttentionFlowLoss", weight=0.2, **flow, **shared)),
        "TV": dict(smoothness=dict(type="AttentionTVLoss", weight=0.05, **shared)),
        "correlation": dict(
            correlation=dict(type="CorrelationRegularizationLoss", weight=1.0, **shared)
        ),
    }


def rows(
    base: str,
    config: str,
    layers: list[str],
    half: int,
    coral: dict | None = None,
    controls: bool = False,
) -> dict:
    """One row for each loss, fine-tuning ``base`` by ``config``; ``controls``: CORAL's losses with
    garment points of other people, and with another person's correspondences.
    """
    made = losses(layers, half, coral or {})
    found = {
        name: dict(base=base, config=config, options={"model.attention_losses": these}, ship=True)
        for name, these in made.items()
    }
    for what in ("points", "samples") if controls else ():
        options = {
            "model.attention_losses": made["CORAL"],
            "train_dataloader.dataset.shuffle_correspondences": what,
        }
        found[f"CORAL, {what} shuffled"] = dict(base=base, config=config, options=options)
    return found
