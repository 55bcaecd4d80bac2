"""A vision-language model as judge: rubric, endpoints, runs that survive, statistics."""

from vtonlab.evaluation.judge.endpoints import Endpoint, LocalModel, OpenAIEndpoint
from vtonlab.evaluation.judge.rubric import CRITERIA, parse_answer
from vtonlab.evaluation.judge.run import Judge, JudgeSettings
from vtonlab.evaluation.judge.summary import summarise

__all__ = [
    "CRITERIA",
    "Endpoint",
    "Judge",
    "JudgeSettings",
    "LocalModel",
    "OpenAIEndpoint",
    "parse_answer",
    "summarise",
]
