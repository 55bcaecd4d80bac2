"""Keys at the top of a config that this package reads beside mmengine's runner."""

import inspect
from collections.abc import Sequence
from typing import Any

Arguments = dict[str, inspect.Parameter]


def declared(**annotations: Any) -> Arguments:
    """Keys and their types, of what no single function or class takes."""
    kind = inspect.Parameter.KEYWORD_ONLY
    return {k: inspect.Parameter(k, kind, annotation=a) for k, a in annotations.items()}


# A plugin that reads a key of its own adds it: ``TOP_LEVEL.update(declared(my_key=int | None))``.
TOP_LEVEL: Arguments = declared(
    data_root=str | None,
    pretrained=str | None,
    as_released=bool,
    released=dict | None,
    partial_load=Sequence[str] | None,
    new_schedule=bool,
    load_other_size=bool,
    load_parts=dict[str, str] | None,
    custom_imports=dict,
    model_wrapper_cfg=dict,
    find_unused_parameters=bool,
    sharding=dict | None,
    sync_bn=str | None,
    activation_checkpointing=Sequence[str] | str | None,
    efficient_conv_bn_eval=Sequence[str] | str | None,
)
