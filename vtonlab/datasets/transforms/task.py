"""What a sample asks for, where one run mixes tasks."""

from vtonlab.registry import TRANSFORMS


@TRANSFORMS.register_module()
class Task:
    """Adds ``task`` (str) to a sample; named adapters act on the tasks that they are for.

    Args:
        name: such as ``"try_on"`` or ``"try_off"``.
    """

    words_alone = True  # so that it goes with cached latents

    def __init__(self, *, name: str) -> None:
        self.name = name

    def __call__(self, sample: dict) -> dict:
        return {**sample, "task": self.name}
