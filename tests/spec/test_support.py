"""The declared endpoints against the list of the specification's operations."""

from pathlib import Path

import pytest

from homeserver.http.endpoint import OPEN, Endpoint
from tests.spec.support import (
    LATER,
    beyond,
    endpoints,
    is_supported,
    later,
    operations,
    page,
    routes,
)

PAGE = Path(__file__).parents[2] / "docs" / "spec-support.md"
OWN_PREFIXES = (
    "/_synapse/",
    "/_hearth/",
    "/_matrix/client/unstable/",
    "/_matrix/federation/unstable/",
    "/health",
)

# What the specification describes in its text only, not among the operations.
IN_TEXT = frozenset(
    {
        "/_matrix/client/v3/auth/{stage}/fallback/web",
        # Accepted (MSC4186), and not in the description yet.
        "/_matrix/client/v4/sync",
        # Deprecated out of the description, but named where server ACLs are, and still called.
        "/_matrix/federation/v1/send_join/{room_id}/{event_id}",
        "/_matrix/federation/v1/send_leave/{room_id}/{event_id}",
    }
)

# The token is optional, and we have no use for it.
TOKEN_OPTIONAL = frozenset({"getVersions"})


def test_the_list_is_complete() -> None:
    assert len(operations()) == 212


def test_the_committed_page_is_the_generated_one() -> None:
    assert PAGE.read_text() == page(), "run: make spec-support"


def test_what_is_missing_has_its_round() -> None:
    served = routes(endpoints())
    missing = [operation for operation in operations() if not is_supported(operation, served)]
    assert [operation for operation in missing if later(operation) is None] == []
    used = {(operation.api, operation.file) for operation in missing}
    used |= {(operation.api, "") for operation in missing}
    assert not LATER.keys() - used, "what is there now"


def test_nothing_is_served_open_that_the_specification_closes() -> None:
    served = routes(endpoints())
    for operation in operations():
        endpoint = served.get(operation.route)
        if operation.api != "client-server" or operation.name in TOKEN_OPTIONAL:
            continue
        if endpoint is not None and operation.authenticated:
            assert endpoint.auth is not OPEN, operation


@pytest.mark.parametrize("endpoint", beyond(endpoints()), ids=lambda endpoint: endpoint.paths[0])
def test_what_is_not_specified_does_not_look_as_if(endpoint: Endpoint) -> None:
    """Also finds a misspelt path."""
    path = endpoint.paths[0]
    assert path.startswith(OWN_PREFIXES) or path in IN_TEXT
