"""Which operations of the specification are served: `python -m tests.spec.support > docs/spec-support.md`.

`operations.tsv` lists the 212 operations of Matrix v1.19 as facts; the declared routes say what Hearth
answers. Paths match whatever their parameters are called.
"""

import importlib
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from homeserver.http.endpoint import ROUTES, Endpoint

# Importing one of these declares its endpoints.
PACKAGES = ("homeserver.client", "homeserver.admin", "federation.server")

# Operations that others serve and Hearth calls, by their operation name, once it does.
CALLED = frozenset({"askPolicyServerToSign"})

# Served as the two kinds of queries that there are, each an operation of its own.
IN_PARTS = frozenset({"queryInfo"})

# What is missing, by API and file of the specification (or by API), and in which round it comes.
MEDIA, PUSHERS, SIGN_ON = "media", "pushers", "single sign-on and OAuth"
ADDRESSES, BRIDGES = "e-mail and phone", "application services"
LATER = {
    ("client-server", "content-repo"): MEDIA,
    ("client-server", "authed-content-repo"): MEDIA,
    ("server-server", "content_repository"): MEDIA,
    ("client-server", "pusher"): PUSHERS,
    ("push-gateway", ""): PUSHERS,
    ("client-server", "sso_login_redirect"): SIGN_ON,
    ("client-server", "oauth_server_metadata"): SIGN_ON,
    ("client-server", "administrative_contact"): ADDRESSES,
    ("client-server", "password_management"): ADDRESSES,
    ("client-server", "registration"): ADDRESSES,
    ("client-server", "appservice_ping"): BRIDGES,
    ("client-server", "appservice_room_directory"): BRIDGES,
    ("client-server", "third_party_lookup"): BRIDGES,
    ("application-service", ""): BRIDGES,
}

APIS = {
    "client-server": "Client-server API",
    "server-server": "Server-server API",
    "application-service": "Application service API (Hearth calls)",
    "push-gateway": "Push gateway API (Hearth calls)",
}
OUTGOING = ("application-service", "push-gateway")

Route = tuple[str, str]


@dataclass(frozen=True)
class Operation:
    api: str
    file: str
    method: str
    path: str
    name: str
    authenticated: bool
    deprecated: bool

    @property
    def route(self) -> Route:
        return self.method, anonymous(self.path.strip())


def operations() -> list[Operation]:
    lines = (Path(__file__).parent / "operations.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines]
    return [
        Operation(api, file, method, path, name, auth == "auth", deprecated == "deprecated")
        for api, file, method, path, name, auth, deprecated in rows
    ]


def endpoints() -> list[Endpoint]:
    for package in PACKAGES:
        if find_spec(package) is not None:
            importlib.import_module(package)
    return ROUTES


def routes(declared: Iterable[Endpoint]) -> dict[Route, Endpoint]:
    return {(endpoint.method, anonymous(path)): endpoint for endpoint in declared for path in endpoint.paths}


def anonymous(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def is_supported(operation: Operation, served: dict[Route, Endpoint]) -> bool:
    if operation.api in OUTGOING:
        return operation.name in CALLED
    return operation.route in served or operation.name in CALLED | IN_PARTS


def later(operation: Operation) -> str | None:
    """In which round a missing operation comes."""
    return LATER.get((operation.api, operation.file)) or LATER.get((operation.api, ""))


def beyond(served: Iterable[Endpoint]) -> list[Endpoint]:
    """Endpoints that are no operation of the specification."""
    specified = {operation.route for operation in operations()}
    return [
        endpoint
        for endpoint in served
        if not any((endpoint.method, anonymous(path)) in specified for path in endpoint.paths)
    ]


def page() -> str:
    declared = endpoints()
    served = routes(declared)
    everything = operations()
    lines = [
        "# What is served of Matrix v1.19",
        "",
        "Written by `make spec-support` from the declared endpoints; a test holds it equal. Deprecated",
        "operations are in *italics*. What is missing names the round of work that it belongs to.",
        "",
        "| API | operations | served |",
        "| --- | ---: | ---: |",
    ]
    for api, title in APIS.items():
        mine = [operation for operation in everything if operation.api == api]
        count = sum(is_supported(operation, served) for operation in mine)
        lines.append(f"| {title} | {len(mine)} | {count} |")
    for api, title in APIS.items():
        lines += ["", f"## {title}", "", "| | operation | | specified in |", "| --- | --- | --- | --- |"]
        for operation in everything:
            if operation.api == api:
                lines.append(_row(operation, is_supported(operation, served)))
    lines += ["", "## Beyond the specification", "", *_beyond_rows(declared)]
    return "\n".join(lines) + "\n"


def _row(operation: Operation, supported: bool) -> str:
    name = f"*{operation.name}*" if operation.deprecated else operation.name
    mark = "yes" if supported else f"later: {later(operation)}"
    return f"| {mark} | {name} | `{operation.method} {operation.path}` | {operation.file} |"


def _beyond_rows(declared: Iterable[Endpoint]) -> list[str]:
    methods = defaultdict(list)
    for endpoint in beyond(declared):
        methods[endpoint.paths[0]].append(endpoint.method)
    if not methods:
        return ["Nothing."]
    return [f"- `{' '.join(sorted(methods[path]))} {path}`" for path in sorted(methods)]


if __name__ == "__main__":
    print(page(), end="")
