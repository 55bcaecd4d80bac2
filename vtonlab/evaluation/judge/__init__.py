"""A vision-language model as judge: rubric, endpoints, runs that survive, statistics."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "endpoints": ["Endpoint", "LocalModel", "OpenAIEndpoint"],
        "rubric": ["CRITERIA", "parse_answer"],
        "run": ["Judge", "JudgeSettings"],
        "summary": ["summarise"],
    },
)
