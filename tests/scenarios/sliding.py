"""A client of sliding sync, written from the proposal alone: what it knows is what it was sent.

https://github.com/matrix-org/matrix-spec-proposals/pull/4186
"""

from typing import Any

from tests.harness import Client, Json, ok

ACCEPTED = "/_matrix/client/v4/sync"
UNSTABLE = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"

ALL_STATE: Json = {"include": [{}]}
LAZY_STATE: Json = {"include": [{}], "lazy_members": True}


def everything(**config: Any) -> Json:
    """One list of all rooms."""
    return {"all": {"timeline_limit": 10, "required_state": ALL_STATE, **config}}


class Connection:
    """One connection, in the accepted form."""

    def __init__(self, client: Client, conn_id: str = "main") -> None:
        self.client = client
        self.conn_id = conn_id
        self.pos: str | None = None

    def request(self, body: Json, pos: str | None, timeout: int = 0) -> Any:
        whole = {"conn_id": self.conn_id, "timeout": timeout, **body}
        if pos is not None:
            whole["pos"] = pos
        return self.client.post(ACCEPTED, whole)

    def sync(self, timeout: int = 0, **body: Any) -> Json:
        answer = ok(self.request(body, self.pos, timeout))
        self.pos = answer["pos"]
        return answer


class UnstableConnection(Connection):
    """The same as clients had it before: parameters in the query, pairs of type and state key."""

    def request(self, body: Json, pos: str | None, timeout: int = 0) -> Any:
        query: Json = {"timeout": timeout}
        if pos is not None:
            query["pos"] = pos
        return self.client.post(UNSTABLE, {"conn_id": self.conn_id, **body}, **query)
