"""From two photographs to a picture: what tools, apps and notebooks stand on."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "folder_job": ["Pair", "read_pairs", "try_on_folder"],
        "inferencer": ["TryOnInferencer", "TryOnResult"],
        "looking": ["Look", "Match"],
        "models": ["init_model", "list_models"],
        "photographs": ["find_photographs", "prepare_folder"],
        "preparing": ["prepare", "read_preparation"],
    },
)
