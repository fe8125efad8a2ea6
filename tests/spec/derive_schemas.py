"""Writes `responses.json` and `requests.json`: what the specification says answers and requests look like.

    python -m tests.spec.derive_schemas path/to/matrix-spec

The argument is a copy of the specification's repository; its OpenAPI files are read, stripped of prose and
examples, and what several operations share becomes one definition. The subtle part is to tell a property
called `description` from a description: only values of `properties` and `patternProperties` have names that
mean nothing.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

TARGET = Path(__file__).parent
APIS = ("client-server", "server-server")
METHODS = ("get", "put", "post", "delete")
NAMED = ("properties", "patternProperties")
PROSE = {"$schema", "description", "title", "example", "examples", "default", "deprecated", "externalDocs"}

Schema = dict[str, Any]


class Definitions:
    """What others refer to, each stripped once and named after its file or place."""

    def __init__(self, kept: Iterable[str] = ()) -> None:
        self.kept = set(kept)
        """Extensions of JSON schema that mean something to us."""
        self.schemas: dict[str, Schema] = {}
        self._names: dict[tuple[Path, str], str] = {}

    def refer(self, reference: str, where: Path) -> Schema:
        file, _, pointer = reference.partition("#")
        path = (where.parent / file).resolve() if file else where
        if (path, pointer) not in self._names:
            name = pointer.rpartition("/")[2] or path.stem
            while name in self.schemas:
                name = f"{path.parent.name}-{name}"
            self._names[path, pointer] = name
            self.schemas[name] = {}  # taken, should it refer to itself
            schema = yaml.safe_load(path.read_text())
            for step in filter(None, pointer.split("/")):
                schema = schema[step]
            self.schemas[name] = self.strip(schema, path)
        return {"$ref": f"#/$defs/{self._names[path, pointer]}"}

    def strip(self, schema: Any, where: Path) -> Any:
        if isinstance(schema, list):
            return [self.strip(item, where) for item in schema]
        if not isinstance(schema, dict):
            return schema
        stripped: Schema = {}
        for key, value in schema.items():
            if key == "$ref":
                stripped |= self.refer(value, where)
            elif key in NAMED:
                stripped[key] = {name: self.strip(inner, where) for name, inner in value.items()}
            elif key in self.kept or (key not in PROSE and not key.startswith("x-")):
                stripped[key] = self.strip(value, where)
        return unwrap(stripped)


def unwrap(schema: Schema) -> Schema:
    """`{type: object, allOf: [X]}` is how the specification gives a reference a description."""
    if set(schema) <= {"type", "allOf"} and len(schema.get("allOf", ())) == 1:
        (only,) = schema["allOf"]
        return dict(only)
    return schema


def operations(file: Path) -> Iterator[tuple[str, Schema]]:
    """Each operation as `GET /whole/path`, and its OpenAPI object."""
    document = yaml.safe_load(file.read_text())
    base = document["servers"][0]["variables"]["basePath"]["default"]
    for path, methods in document["paths"].items():
        for method in METHODS:
            if method in methods and path == path.strip():  # one path is there twice, told apart by a blank
                yield f"{method.upper()} {base}{path}", methods[method]


def answer(response: Schema) -> Schema | bool | None:
    """The JSON schema of a response; None if it is no JSON, True if nothing is said."""
    content = response.get("content")
    if content is None:
        return True
    if "application/json" not in content:
        return None
    schema: Schema | bool = content["application/json"].get("schema", True)
    return schema


def everything(specification: Path) -> Iterator[tuple[Path, str, Schema]]:
    for api in APIS:
        for file in sorted((specification / "data" / "api" / api).glob("*.yaml")):
            for name, operation in operations(file):
                yield file, name, operation


def responses(specification: Path) -> Schema:
    definitions = Definitions()
    table: dict[str, dict[str, Any]] = {}
    for file, name, operation in everything(specification):
        statuses = table.setdefault(name, {})
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"\d{3}", str(status)), (name, status)
            statuses[str(status)] = definitions.strip(answer(response), file)
    return {"operations": table, "$defs": definitions.schemas}


def requests(specification: Path) -> Schema:
    """Of each operation its parameters in the path and the query, and its body if that is JSON."""
    definitions = Definitions(kept=["x-pattern-format"])
    table: dict[str, dict[str, Any]] = {}
    for file, name, operation in everything(specification):
        request = table.setdefault(name, {"path": {}, "query": {}, "required": []})
        for parameter in operation.get("parameters", ()):
            if "$ref" in parameter:
                parameter = yaml.safe_load(file.read_text())["components"]["parameters"][
                    parameter["$ref"].rpartition("/")[2]
                ]
            if (where := parameter["in"]) in request:
                request[where][parameter["name"]] = definitions.strip(parameter["schema"], file)
                if where == "query" and parameter.get("required"):
                    request["required"].append(parameter["name"])
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            request["body"] = definitions.strip(content["application/json"]["schema"], file)
    return {"operations": table, "$defs": definitions.schemas}


def write(derived: Schema) -> str:
    """One operation or definition a line, so that a change is seen."""
    parts = []
    for part in ("operations", "$defs"):
        lines = [
            f"{json.dumps(name)}: {json.dumps(value, sort_keys=True, separators=(',', ':'))}"
            for name, value in sorted(derived[part].items())
        ]
        parts.append(f'"{part}": {{\n' + ",\n".join(lines) + "\n}")
    return "{" + ",\n".join(parts) + "}\n"


if __name__ == "__main__":
    for part in (responses, requests):
        (TARGET / f"{part.__name__}.json").write_text(write(part(Path(sys.argv[1]))))
