"""What the judge is asked: three criteria, one call each, an integer from 1 to 5 as JSON.

CORAL's prompt and model are unknown; this rubric is vtonlab's (METHODS.md 6.7), and its hash stands
beside every number. Do not compare scores of different hashes or models.
"""

import hashlib
import json
import re

from vtonlab.utils.bounded import parse_json

CRITERIA = {
    "garment_transfer": (
        "Does the garment worn in RESULT match the one in GARMENT: category, silhouette, colour, "
        "pattern, and the place and content of logos and text?",
        "5: the same garment in every visible respect. 4: one small deviation. 3: clearly the same "
        "design with several deviations. 2: only category or colour match. 1: another garment.",
    ),
    "attribute_consistency": (
        "List the attributes that GARMENT shows (sleeve length, neckline, length, closure, "
        "pattern, text, decoration) and judge what share of them RESULT preserves.",
        "5: all preserved. 4: one lost or changed. 3: about two thirds preserved. "
        "2: about a third. 1: almost none.",
    ),
    "fit_and_pose": (
        "Is the garment in RESULT plausibly worn by the person in PERSON: fit to body and pose, "
        "occlusion by arms and hair, boundaries, intact hands, no residue of the old garment?",
        "5: indistinguishable from a photograph. 4: one small flaw. 3: visible flaws, plausible at "
        "a glance. 2: severe flaws. 1: body or garment broken.",
    ),
}
PICTURES = {
    "PERSON": "the person before; the clothes worn here are to be replaced",
    "GARMENT": "the reference garment",
    "RESULT": "the generated picture of that person in that garment",
}
ORDERS = (  # the first is the fixed one; the others are the control's
    ("PERSON", "GARMENT", "RESULT"),
    ("PERSON", "RESULT", "GARMENT"),
    ("GARMENT", "PERSON", "RESULT"),
    ("GARMENT", "RESULT", "PERSON"),
    ("RESULT", "PERSON", "GARMENT"),
    ("RESULT", "GARMENT", "PERSON"),
)
SYSTEM = (
    "You judge virtual try-on pictures strictly and without regard to the order in which pictures "
    "are shown. Answer with one JSON object and nothing else."
)
_FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.DOTALL)


def question(criterion: str) -> str:
    """The text that follows the labelled pictures."""
    what, scale = CRITERIA[criterion]
    shown = "; ".join(f"{label} is {meaning}" for label, meaning in PICTURES.items())
    return (
        f"{shown}. Judge one thing only. {what} Scale: {scale} Answer exactly in this form: "
        f'{{"criterion": "{criterion}", "reason": "<one sentence>", "score": <integer 1 to 5>}}'
    )


def rubric_hash() -> str:
    """SHA-256 of everything the judge reads but the pictures."""
    parts = [SYSTEM, *(question(name) for name in CRITERIA), json.dumps(ORDERS)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def parse_answer(text: str, criterion: str) -> tuple[int, str]:
    """Score and reason of a model's answer; a code fence around the JSON is forgiven, no more.

    Raises:
        ValueError: no JSON object, another criterion, or no integer from 1 to 5.
    """
    fenced = _FENCE.match(text.strip())
    try:
        answer = parse_json(fenced.group(1) if fenced else text, "the answer")
    except ValueError:
        raise ValueError(f"no JSON object: {text[:80]!r}") from None
    if not isinstance(answer, dict):
        raise ValueError(f"no JSON object: {text[:80]!r}")
    if answer.get("criterion", criterion) != criterion:
        raise ValueError(f"it judged {answer['criterion']!r} where {criterion!r} was asked")
    score = answer.get("score")
    if isinstance(score, bool) or not isinstance(score, int) or not 1 <= score <= 5:
        raise ValueError(f"score {score!r} is no integer from 1 to 5")
    return score, str(answer.get("reason", ""))
