"""Of what form a JSON tree must be, before anybody walks it."""

from typing import Any

NUMBER = int | float
WORD = str | int | float | bool | None  # anything that prints on one line


def check_form(value: Any, form: Any, place: str = "it") -> None:
    """``ValueError`` that names the first place where ``value`` is not of ``form``.

    Args:
        value: of a JSON file.
        form: a type or a union of types; ``{"key": form, "other!": form}``, keys that may be
            missing, or with a mark must not, and may have others beside them; ``{...: form}``,
            every key; ``[form]``, a list of any length; ``(form, form)``, a list of that length;
            ``(None, form)``, a value that may be null.
        place: where it stands.
    """
    if isinstance(form, tuple) and form[0] is None:
        if value is not None:
            check_form(value, form[1], place)
    elif isinstance(form, dict):
        _check(value, dict, place)
        wanted = {key.rstrip("!"): part for key, part in form.items() if key is not ...}
        missing = [
            key for key in form if key is not ... and key[-1] == "!" and key[:-1] not in value
        ]
        if missing:
            raise ValueError(f"{place} lacks {missing[0][:-1]!r}")
        for key, part in value.items():
            if key in wanted or ... in form:
                check_form(part, wanted.get(key, form.get(...)), f"{place}.{key}")
    elif isinstance(form, list):
        _check(value, list, place)
        for number, part in enumerate(value):
            check_form(part, form[0], f"{place}[{number}]")
    elif isinstance(form, tuple):
        _check(value, list, place)
        if len(value) != len(form):
            raise ValueError(f"{place} has {len(value)} entries, not {len(form)}")
        for number, (part, wanted) in enumerate(zip(value, form, strict=True)):
            check_form(part, wanted, f"{place}[{number}]")
    else:
        _check(value, form, place)


def _check(value: Any, kind: Any, place: str) -> None:
    number = isinstance(value, bool) and kind in (int, float, NUMBER)  # Python counts it as one
    if number or not isinstance(value, kind):
        raise ValueError(f"{place} is {repr(value)[:60]}")
