"""YAML read with the line of every key, so that an error can point at it."""

from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]


class YamlError(Exception):
    """The file is not YAML, or says a thing twice."""

    def __init__(self, line: int | None, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.text = text


@dataclass
class Document:
    data: Any
    lines: dict[Path, int] = field(default_factory=dict)  # counted from 1

    def line(self, path: Path) -> int | None:
        """The line of this key, or of the nearest key around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def read(text: str) -> Document:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        document = Document(None)
        document.data = {} if node is None else _value(loader, node, (), document.lines)
        return document
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(mark.line + 1 if mark else None, str(error.problem or error)) from error
    except yaml.YAMLError as error:
        raise YamlError(None, str(error)) from error
    finally:
        loader.dispose()


def _value(loader: yaml.SafeLoader, node: yaml.Node, path: Path, lines: dict[Path, int]) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        _refuse_repeated_keys(node)
        loader.flatten_mapping(node)  # "<<": what is merged in comes first, own keys override it
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = loader.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise YamlError(line, f"the key {key!r} is not text: put it in quotes")
            lines[(*path, key)] = line
            mapping[key] = _value(loader, value_node, (*path, key), lines)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, item, (*path, index), lines) for index, item in enumerate(node.value)]
    return loader.construct_object(node, deep=True)


def _refuse_repeated_keys(node: yaml.MappingNode) -> None:
    """YAML would take the last one; whoever wrote two meant something else."""
    first: dict[str, int] = {}
    for key_node, _ in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "<<":
            continue
        if key_node.value in first:
            raise YamlError(line, f"{key_node.value} is given twice (first in line {first[key_node.value]})")
        first[key_node.value] = line
