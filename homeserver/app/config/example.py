"""homeserver.yaml.example, written from the declarations: `python -m homeserver.app.config.example`.

`hearth init` writes the same text with an installation's own values filled in.
"""

import dataclasses
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import yaml

from homeserver.app.config.declare import Declared, options_of, quantity
from homeserver.app.config.options import Config

WIDTH = 100

INTRODUCTION = """\
# Configuration of Hearth, a Matrix homeserver.
#
# A line such as "#log_level: INFO" shows the default; to change it, take the "#" away. Relative paths
# start at the directory of this file. Durations are written 30s, 5m, 12h, 7d; sizes 512K, 50M.
# `hearth check` reads this file and says what is wrong with it. Option names are Synapse's where the
# meaning is the same.
"""

EXAMPLE = {
    "server_name": "example.org",
    "public_baseurl": "https://matrix.example.org/",
    "listeners": [
        {
            "port": 8008,
            "bind_addresses": ["127.0.0.1"],
            "type": "http",
            "tls": False,
            "x_forwarded": True,
            "resources": [{"names": ["client", "federation"]}],
        }
    ],
    "database": {
        "name": "psycopg2",
        "args": {
            "user": "hearth",
            "password": "a password",
            "dbname": "hearth",
            "host": "localhost",
            "cp_min": 2,
            "cp_max": 10,
        },
    },
    "signing_key_path": "example.org.signing.key",
}


def render(values: Mapping[str, Any]) -> str:
    """The whole commented file, with these values set and all else at its default."""
    parts = [INTRODUCTION]
    described: set[type] = set()
    for declared in options_of(Config):
        if declared.about.heading:
            parts.append(f"\n## {declared.about.heading} ##\n")
        parts.append(_entry(declared, values, described))
    return "\n".join(parts)


def _entry(declared: Declared, values: Mapping[str, Any], described: set[type]) -> str:
    lines = [f"# {line}" for line in _wrap(declared.about.doc, WIDTH)]
    lines += _inner_docs(declared.type, "", described)
    if declared.about.planned:
        lines.append("# Has no effect yet.")
    if declared.name in values:
        lines.append(_yaml(declared.name, values[declared.name]))
    else:
        if declared.about.example is not None:
            lines.append("# For example:")
            value = declared.about.example
        else:
            value = _plain(declared.type, declared.default)
        lines += [f"#{line}" for line in _yaml(declared.name, value).splitlines()]
    return "\n".join(lines) + "\n"


def _inner_docs(kind: Any, indent: str, described: set[type]) -> list[str]:
    """The keys of a section, or of the items of a list of sections; each kind of section only once."""
    section = get_args(kind)[0] if get_origin(kind) is tuple else kind
    if not dataclasses.is_dataclass(section) or not isinstance(section, type) or section in described:
        return []
    described.add(section)
    lines = []
    for inner in options_of(section):
        first, *more = _wrap(f"{inner.name}: {inner.about.doc}.", WIDTH - len(indent) - 4)
        lines += [f"#   {indent}{first}", *(f"#   {indent}  {line}" for line in more)]
        lines += _inner_docs(inner.type, indent + "  ", described)
    return lines


def _plain(kind: Any, value: Any) -> Any:
    """A default as YAML can say it, and as a person would."""
    if get_origin(kind) is Annotated:
        return quantity(value, get_args(kind)[1])
    if dataclasses.is_dataclass(value):
        section: Any = type(value)
        return {inner.name: _plain(inner.type, getattr(value, inner.name)) for inner in options_of(section)}
    if isinstance(value, tuple):
        return [_plain(get_args(kind)[0], item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)


def _yaml(name: str, value: Any) -> str:
    text: str = yaml.safe_dump(
        {name: value}, sort_keys=False, default_flow_style=False, width=WIDTH, indent=2
    )
    return text.rstrip("\n")


if __name__ == "__main__":
    print(render(EXAMPLE), end="")
