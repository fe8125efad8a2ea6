"""How an option is declared: a dataclass field with its documentation, from which all else follows.

From the declarations come the JSON schema that checks a file, the conversion into typed values, and the
commented example. The subtle part: a nested section given in part keeps the rest of *its option's* default
(`rc_message: {per_second: 5}` keeps the burst of `rc_message`, not that of some other limit).
"""

import dataclasses
import re
import types
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

Milliseconds = Annotated[int, "duration"]
Bytes = Annotated[int, "size"]

Schema = dict[str, Any]

_UNITS_MS = {
    "": 1,
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
    "y": 31_536_000_000,
}
_UNITS_BYTES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}

_DURATION = re.compile(r"^(\d+)(ms|[smhdwy]?)$")
_SIZE = re.compile(r"^(\d+)([KMG]?)$")


@dataclasses.dataclass(frozen=True)
class About:
    """What a declaration says of an option beside its type and default."""

    doc: str
    heading: str | None  # opens a chapter of the example file
    limits: Schema  # more JSON schema: pattern, minimum …
    expected: str | None  # what a good value is, in words, where the type does not say it all
    example: Any  # shown in the example file where the default shows too little
    planned: bool  # accepted, but nothing reads it yet; a test keeps this honest


def option(
    default: Any = dataclasses.MISSING,
    doc: str = "",
    *,
    heading: str | None = None,
    limits: Schema | None = None,
    expected: str | None = None,
    example: Any = None,
    planned: bool = False,
) -> Any:
    """A dataclass field; without a default the option is required. A dict as default is copied."""
    about = {"about": About(doc, heading, limits or {}, expected, example, planned)}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=about)
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=about)
    return dataclasses.field(default=default, metadata=about)


@dataclasses.dataclass(frozen=True)
class Declared:
    """An option as read back from its dataclass."""

    name: str
    type: Any
    default: Any  # MISSING: required
    about: About


@cache
def options_of(section: Any) -> tuple[Declared, ...]:
    hints = get_type_hints(section, include_extras=True)
    declared = []
    for field in dataclasses.fields(section):
        factory = field.default_factory
        default = field.default if factory is dataclasses.MISSING else factory()
        declared.append(Declared(field.name, hints[field.name], default, field.metadata["about"]))
    return tuple(declared)


def schema_of(kind: Any) -> Schema:
    """JSON schema of a type; `expected` beside it says in words what a good value is."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated and arguments[1] == "duration":
        return {
            "type": ["integer", "string"],
            "minimum": 0,
            "pattern": _DURATION.pattern,
            "expected": "a duration such as 30s, 5m, 12h or 7d (a bare number is milliseconds)",
        }
    if origin is Annotated:
        return {
            "type": ["integer", "string"],
            "minimum": 0,
            "pattern": _SIZE.pattern,
            "expected": "a size such as 512K or 50M (a bare number is bytes)",
        }
    if origin in (Union, types.UnionType):
        return _optional(schema_of(_without_none(kind)))
    if origin is Literal:
        # A bare `off` is false to YAML.
        values = [*arguments, False] if "off" in arguments else list(arguments)
        return {"enum": values, "expected": "one of " + ", ".join(map(str, arguments))}
    if origin is tuple:
        items = schema_of(arguments[0])
        return {"type": "array", "items": items, "expected": f"a list, each item {items['expected']}"}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "expected": "a mapping (indented `key: value` lines)"}
    if dataclasses.is_dataclass(kind):
        return section_schema(kind)  # type: ignore[arg-type]
    return dict(_PLAIN[kind])


_PLAIN: dict[Any, Schema] = {
    bool: {"type": "boolean", "expected": "true or false"},
    int: {"type": "integer", "expected": "a whole number"},
    float: {"type": "number", "expected": "a number"},
    str: {"type": "string", "expected": "text (put it in quotes if it looks like a number)"},
    Path: {"type": "string", "minLength": 1, "expected": "the path of a file or directory"},
}


def section_schema(section: type) -> Schema:
    properties = {}
    for declared in options_of(section):
        schema = {**schema_of(declared.type), **declared.about.limits}
        if declared.about.expected:
            schema["expected"] = declared.about.expected
        properties[declared.name] = schema
    required = [declared.name for declared in options_of(section) if declared.default is dataclasses.MISSING]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "expected": f"a mapping with the keys {', '.join(properties)}",
    }


def convert(kind: Any, value: Any, directory: Path, default: Any = dataclasses.MISSING) -> Any:
    """A value that the schema let pass, as its type. Relative paths start at `directory`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if value is None:
        return None
    if origin is Annotated:
        return _quantity(value, arguments[1])
    if origin in (Union, types.UnionType):
        return convert(_without_none(kind), value, directory)
    if origin is tuple:
        return tuple(convert(arguments[0], item, directory) for item in value)
    if kind is Path:
        return directory / Path(value).expanduser()
    if kind is float:
        return float(value)
    if origin is Literal:
        return "off" if value is False else value
    if dataclasses.is_dataclass(kind):
        return convert_section(kind, value, directory, default)  # type: ignore[arg-type]
    return value


def convert_section(
    section: type, value: Mapping[str, Any], directory: Path, default: Any = dataclasses.MISSING
) -> Any:
    given = {}
    for declared in options_of(section):
        fallback = declared.default
        if default is not dataclasses.MISSING:
            fallback = getattr(default, declared.name)
        if declared.name in value:
            given[declared.name] = convert(declared.type, value[declared.name], directory, fallback)
        elif isinstance(fallback, Path):
            given[declared.name] = directory / fallback
        elif fallback is not dataclasses.MISSING:
            given[declared.name] = fallback
    return section(**given)


def _quantity(value: int | str, unit: str) -> int:
    if isinstance(value, int):
        return value
    grammar, units = (_DURATION, _UNITS_MS) if unit == "duration" else (_SIZE, _UNITS_BYTES)
    match = grammar.match(value)
    if match is None:
        raise ValueError(f"{value!r} is no {unit}")
    return int(match[1]) * units[match[2]]


def quantity(value: int, unit: str) -> str | int:
    """The shortest way to write it: 300000 → 5m."""
    units = _UNITS_MS if unit == "duration" else _UNITS_BYTES
    for name, size in sorted(units.items(), key=lambda item: -item[1]):
        if name and value and value % size == 0:
            return f"{value // size}{name}"
    return value


def _without_none(kind: Any) -> Any:
    (inner,) = (argument for argument in get_args(kind) if argument is not type(None))
    return inner


def _optional(schema: Schema) -> Schema:
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**schema, "type": [*kinds, "null"]}
