"""The nouns of vtonlab, one page.

A registry is a child of mmengine's only where the noun is the same; mmengine allows one child per
parent and scope, so the nouns of the domain have no parent. ``locations`` are imported when a
registry is first asked for a name it does not know, which keeps ``import vtonlab`` light.
"""

from mmengine.registry import DATA_SAMPLERS as _DATA_SAMPLERS
from mmengine.registry import DATASETS as _DATASETS
from mmengine.registry import HOOKS as _HOOKS
from mmengine.registry import LOOPS as _LOOPS
from mmengine.registry import METRICS as _METRICS
from mmengine.registry import MODELS as _MODELS
from mmengine.registry import OPTIM_WRAPPERS as _OPTIM_WRAPPERS
from mmengine.registry import TRANSFORMS as _TRANSFORMS
from mmengine.registry import VISUALIZERS as _VISUALIZERS
from mmengine.registry import Registry


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    return Registry(name, parent=parent, scope="vtonlab", locations=list(locations))


def _own(name: str, *locations: str) -> Registry:
    return Registry(name, scope="vtonlab", locations=list(locations))


class _DiffusersRegistry(Registry):
    """Also finds the classes of diffusers, as they are, by their own names, when a config asks for
    them.
    """

    def get(self, key: str):
        found = super().get(key)
        if found is None and key.isidentifier():
            import diffusers

            found = getattr(diffusers, key, None)
        return found


# The same nouns as mmengine's.
MODELS = _child("model", _MODELS, "vtonlab.models")
DATASETS = _child("dataset", _DATASETS, "vtonlab.datasets")
DATA_SAMPLERS = _child("data sampler", _DATA_SAMPLERS, "vtonlab.datasets")
TRANSFORMS = _child("transform", _TRANSFORMS, "vtonlab.datasets")
METRICS = _child("metric", _METRICS, "vtonlab.evaluation")
HOOKS = _child("hook", _HOOKS, "vtonlab.engine")
LOOPS = _child("loop", _LOOPS, "vtonlab.engine")
OPTIM_WRAPPERS = _child("optimizer wrapper", _OPTIM_WRAPPERS, "vtonlab.engine")
VISUALIZERS = _child("visualizer", _VISUALIZERS, "vtonlab.visualization")

# The nouns of correspondence-supervised try-on.
BACKBONES = _DiffusersRegistry(  # UNet, DiT, codecs: diffusers' own, and the few it lacks
    "backbone", scope="vtonlab", locations=["vtonlab.backbones"]
)
CONDITIONERS = _own("conditioner", "vtonlab.conditioners")  # how the garment enters the backbone
MATCHERS = _own("matcher", "vtonlab.matchers")  # external person-to-garment correspondence
ATTENTION_LOSSES = _own("attention loss", "vtonlab.losses")  # losses over attention records
LOSSES = _own("loss", "vtonlab.losses")  # image and adversarial losses
SAMPLERS = _own("sampler", "vtonlab.samplers")  # diffusion samplers (data samplers: DATA_SAMPLERS)
NOISE_SCHEDULES = _own("noise schedule", "vtonlab.noise_schedules")  # training-side noising
