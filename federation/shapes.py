"""Reading what other servers answer: the shapes that values from outside must have.

Everything that is handed on to a client passes `renderable`: JSON can be nested deeper when it is read than
when it is written, and such an answer would fail far away from where it came in.
"""

from typing import Any

import orjson

from federation.errors import BadAnswer


def renderable(server: str, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer, if it can be written as JSON again. Raises BadAnswer."""
    try:
        orjson.dumps(answer)
    except TypeError as error:
        raise BadAnswer(f"{server} answered JSON that is nested too deep.") from error
    return answer


def objects(value: Any) -> dict[str, dict[str, Any]]:
    """The members that are objects themselves; nothing where the value is no object."""
    members = value.items() if isinstance(value, dict) else ()
    return {name: each for name, each in members if isinstance(each, dict)}


def is_stream_id(value: Any) -> bool:
    """Numbers that JSON and both databases hold."""
    return type(value) is int and abs(value) < 2**53


def is_strings(value: Any) -> bool:
    """An object of strings."""
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def is_signatures(value: Any) -> bool:
    """user → key ID → signature."""
    return isinstance(value, dict) and all(is_strings(each) for each in value.values())
