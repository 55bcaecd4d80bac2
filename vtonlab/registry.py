"""The nouns of vtonlab, one page.

A registry is a child of mmengine's only where the noun is the same; mmengine allows one child per
parent and scope, so the nouns of the domain have no parent. ``locations`` are imported, with all
modules below them, when a registry is first asked for a name, which keeps ``import vtonlab`` and
the packages themselves light; ``names(registry)`` lists what is there. Installed plugins (entry
points of the group ``vtonlab.plugins``) are imported with them.
"""

import inspect

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

from vtonlab.utils.class_table import ClassTable, import_all


class PackageRegistry(Registry):
    """A registry whose classes may stand in any module below its ``locations``."""

    def import_from_location(self) -> None:
        if self._imported:
            return
        self._imported = True  # first: what is imported may ask this registry
        import_all(self._locations)


def names(registry: Registry) -> list[str]:
    """Names of everything that is registered in ``registry`` and its parents, sorted."""
    registry.import_from_location()
    found = set(registry.module_dict)
    return sorted(found | set(names(registry.parent)) if registry.parent is not None else found)


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    return PackageRegistry(name, parent=parent, scope="vtonlab", locations=list(locations))


def _own(name: str, *locations: str) -> Registry:
    return PackageRegistry(name, scope="vtonlab", locations=list(locations))


class _DiffusersRegistry(PackageRegistry):
    """Also finds the classes of diffusers, as they are, by their own names, when a config asks for
    them.
    """

    def get(self, key: str):
        found = super().get(key)
        if found is None and key.isidentifier():
            import diffusers

            found = getattr(diffusers, key, None)
            if not (inspect.isclass(found) and issubclass(found, diffusers.ModelMixin)):
                return None
        return found


# The same nouns as mmengine's.
MODELS = _child("model", _MODELS, "vtonlab.models", "vtonlab.engine.running.ema")
DATASETS = _child("dataset", _DATASETS, "vtonlab.datasets", "vtonlab.synthetic.dataset")
DATA_SAMPLERS = _child("data sampler", _DATA_SAMPLERS, "vtonlab.datasets")
TRANSFORMS = _child("transform", _TRANSFORMS, "vtonlab.datasets")
METRICS = _child("metric", _METRICS, "vtonlab.evaluation")
HOOKS = _child("hook", _HOOKS, "vtonlab.engine.hooks")
LOOPS = _child(
    *("loop", _LOOPS, "vtonlab.engine.running.loops"),
    *("vtonlab.engine.testing.pair_loop", "vtonlab.engine.testing.val_loop"),
)
OPTIM_WRAPPERS = _child("optimizer wrapper", _OPTIM_WRAPPERS, "vtonlab.engine.running.optimizers")
VISUALIZERS = _child("visualizer", _VISUALIZERS, "vtonlab.visualization")

# The nouns of correspondence-supervised try-on.
BACKBONES = _DiffusersRegistry(  # UNet, DiT, codecs: diffusers' own, and the few it lacks
    "backbone", scope="vtonlab", locations=["vtonlab.backbones"]
)
CONDITIONERS = _own("conditioner", "vtonlab.conditioners")  # how the garment enters the backbone
ESTIMATORS = _own("estimator", "vtonlab.estimators")  # maps of photographs: keypoints, matte, ...
MATCHERS = _own("matcher", "vtonlab.matchers")  # external person-to-garment correspondence
ATTENTION_LOSSES = _own("attention loss", "vtonlab.losses")  # losses over attention records
LOSSES = _own("loss", "vtonlab.losses")  # image and adversarial losses
SAMPLERS = _own("sampler", "vtonlab.samplers")  # diffusion samplers (data samplers: DATA_SAMPLERS)
NOISE_SCHEDULES = _own("noise schedule", "vtonlab.noise_schedules")  # training-side noising

# What is known about classes of other libraries, found for their subclasses too.
FAMILIES = ClassTable("backbone family", locations=["vtonlab.backbones.families"])  # how called
ATTENTION_BLOCKS = ClassTable("attention block", locations=["vtonlab.backbones.families"])
UNSEEN_PROCESSORS = ClassTable(  # of attention that no record can be made of: the reason
    "attention processor", locations=["vtonlab.attention.backends"]
)
CODECS = ClassTable("codec", locations=["vtonlab.backbones.codec"])  # how latents are scaled
# how a pipeline's text encoders are asked
PROMPT_ENCODERS = ClassTable("text encoding", locations=["vtonlab.conditioners.text_encoders"])
