"""Children of mmengine's registries for nouns that running adds; registering there is all it does.

mmengine warns on every build where the default scope has no child of a noun.
"""

from mmengine import registry as mm
from mmengine.registry import Registry

from vtonlab.registry import PackageRegistry


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    return PackageRegistry(name, parent=parent, scope="vtonlab", locations=list(locations))


OPTIMIZERS = _child(
    "optimizer",
    mm.OPTIMIZERS,
    "vtonlab.engine.running.adam",
    "vtonlab.engine.running.eight_bit",
)
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    "optimizer wrapper constructor",
    mm.OPTIM_WRAPPER_CONSTRUCTORS,
    "vtonlab.engine.running.optimizers",
    "vtonlab.engine.running.adapter_rates",
)
PARAM_SCHEDULERS = _child(
    "parameter scheduler", mm.PARAM_SCHEDULERS, "vtonlab.engine.running.adapter_rates"
)
VISBACKENDS = _child("vis backend", mm.VISBACKENDS)
LOG_PROCESSORS = _child("log processor", mm.LOG_PROCESSORS)
EVALUATOR = _child("evaluator", mm.EVALUATOR)
MODEL_WRAPPERS = _child("model wrapper", mm.MODEL_WRAPPERS)
