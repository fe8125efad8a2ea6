"""From a method and a path to an endpoint: a dictionary of literal paths, then a trie of segments.

Matching happens on the path as sent and parameters are decoded afterwards, so a percent-encoded slash
inside an identifier never splits it. A literal segment wins over a parameter, and the search steps back
where the literal leads nowhere.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from homeserver.errors import MatrixError, Unrecognized
from homeserver.http.request import decode

if TYPE_CHECKING:
    from homeserver.http.endpoint import Endpoint


class _Node:
    __slots__ = ("children", "methods", "parameter")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.methods: dict[str, Endpoint] = {}


class Router:
    def __init__(self, endpoints: Iterable["Endpoint"] = ()) -> None:
        self._literal: dict[str, dict[str, Endpoint]] = {}
        self._root = _Node()
        for endpoint in endpoints:
            self.add(endpoint)

    def add(self, endpoint: "Endpoint") -> None:
        for path in endpoint.paths:
            if "{" not in path:
                methods = self._literal.setdefault(path, {})
            else:
                node = self._root
                for segment in path.split("/"):
                    if segment.startswith("{"):
                        node.parameter = node.parameter or _Node()
                        node = node.parameter
                    else:
                        node = node.children.setdefault(segment, _Node())
                methods = node.methods
            if endpoint.method in methods:
                raise ValueError(f"{endpoint.method} {path} is declared twice")
            methods[endpoint.method] = endpoint

    def find(self, method: str, path: str) -> tuple["Endpoint", list[str]]:
        """The endpoint and the decoded path parameters; raises M_UNRECOGNIZED, 404 or 405."""
        arguments: list[str] = []
        methods = self._literal.get(path)
        if methods is None:
            methods = _walk(self._root, path.split("/"), 0, arguments)
            if methods is None:
                raise Unrecognized("Unrecognized request.")
        endpoint = methods.get("GET" if method == "HEAD" else method)
        if endpoint is None:
            raise MatrixError("Method not allowed.", status=405, errcode="M_UNRECOGNIZED")
        return endpoint, [decode(argument) for argument in arguments] if arguments else arguments


def _walk(
    node: _Node, segments: list[str], index: int, arguments: list[str]
) -> dict[str, "Endpoint"] | None:
    if index == len(segments):
        return node.methods or None
    segment = segments[index]
    child = node.children.get(segment)
    if child is not None:
        found = _walk(child, segments, index + 1, arguments)
        if found is not None:
            return found
    if node.parameter is not None:
        arguments.append(segment)
        found = _walk(node.parameter, segments, index + 1, arguments)
        if found is not None:
            return found
        arguments.pop()
    return None
