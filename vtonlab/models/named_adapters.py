"""Several LoRAs in one backbone, each for the samples that it is meant for.

A LoRA adds ``B A x`` to a frozen projection. Here the part ``A x`` of each is multiplied by a gate
of 0 or 1 for each sample, so that one batch may mix tasks: what a LoRA is not for, it neither
changes nor learns from. Where all gates are 1 nothing is multiplied.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vtonlab.models.adapters import inject_lora, train_in_float32
from vtonlab.utils.upload import upload

SETTINGS = ("rank", "alpha", "dropout", "target_modules", "task", "role")


class NamedAdapters:
    """The LoRAs of a backbone by name, and on which samples of a call each acts.

    Args:
        backbone: frozen but for them.
        settings: name -> ``rank``, ``alpha``, ``dropout``, ``target_modules`` as `add_lora` takes
            them, and on what it acts: ``task``, the sample's own (one name or several), ``role``,
            a reference picture that the sample is shown; both, or neither for all samples.
        roles: of the references that the conditioner shows.

    Raises:
        ValueError: a setting that does not exist, a name that cannot be one of a module, a role
            that is not shown, or ``target_modules`` that match nothing.
    """

    def __init__(
        self, backbone: nn.Module, settings: Mapping[str, Mapping], roles: Sequence[str] = ()
    ) -> None:
        backbone.requires_grad_(False)
        self.tasks: dict[str, tuple[str, ...]] = {}
        self.roles: dict[str, str] = {}
        self._gates: dict[str, Tensor] = {}
        for name, given in settings.items():
            given = dict(given)
            _check(name, given, roles)
            task, role = given.pop("task", None), given.pop("role", None)
            if task is not None:
                self.tasks[name] = (task,) if isinstance(task, str) else tuple(task)
            if role is not None:
                self.roles[name] = role
            inject_lora(backbone, name, **given)
        backbone.set_adapter(list(settings))  # all of them at once
        train_in_float32(backbone)
        self._places = {role: place for place, role in enumerate(roles)}
        for name in {**self.tasks, **self.roles}:
            for module in backbone.modules():
                parts = getattr(module, "lora_A", {})
                if name in parts:
                    parts[name].register_forward_hook(partial(_gated, self._gates, name))

    def check_sample(self, sample: Mapping, where: str = "") -> None:
        """``ValueError`` for a sample or batch without the ``task`` that an adapter asks for."""
        if self.tasks and "task" not in sample:
            name, tasks = next(iter(self.tasks.items()))
            raise ValueError(
                f"{where}adapter {name!r} is for {' and '.join(tasks)}, and the sample names no "
                "`task`: add the transform dict(type='Task', name=...) to each data set"
            )

    def told(self, batch: Mapping, device: torch.device) -> list[Tensor]:
        """Gates (B,) by task, in the order of ``tasks``; they travel with the conditions."""
        self.check_sample(batch)
        return [
            upload(torch.tensor([float(task in tasks) for task in batch["task"]]), device)
            for tasks in self.tasks.values()
        ]

    def act_on(self, conditions: Mapping[str, Any]) -> None:
        """Set the gates of the next call, and of its recomputation in the backward pass."""
        self._gates.clear()
        gates = conditions.get("adapters")
        if gates is not None:
            self._gates.update(zip(self.tasks, gates, strict=True))
        shown = conditions.get("shown")
        for name, role in self.roles.items() if shown is not None else ():
            gate = shown[self._places[role]]
            self._gates[name] = gate * self._gates.get(name, 1.0)


def _gated(gates: Mapping[str, Tensor], name: str, module, args, output: Tensor) -> Tensor | None:
    """Forward hook of one LoRA's first matrix: (B, ..., rank) times the samples' gates."""
    gate = gates.get(name)
    if gate is None:
        return None
    return output * gate.to(output).reshape(-1, *[1] * (output.ndim - 1))


def _check(name: str, given: Mapping, roles: Sequence[str]) -> None:
    unknown = sorted(set(given) - set(SETTINGS))
    if unknown:
        raise ValueError(
            f"adapters.{name}: {unknown[0]!r} is none of {', '.join(SETTINGS)} (its learning rate "
            "and schedule are the optimiser's: see AdapterOptimWrapperConstructor)"
        )
    if not name.isidentifier() or name == "default":
        raise ValueError(f"adapters: {name!r} cannot be a name; use letters, digits and _")
    role = given.get("role")
    if role is not None and role not in roles:
        raise ValueError(
            f"adapters.{name}: role={role!r} is none of the references "
            f"({', '.join(roles) or 'this conditioner shows none by role'})"
        )
