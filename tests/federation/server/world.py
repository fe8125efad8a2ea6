"""A real Hearth on either engine, and servers made up for the test that ask it."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from tests.federation.synthetic import V1, Json, Synthetic
from tests.harness import HearthServer


@dataclass
class World:
    """`here` is the Hearth, called `name`; `there` and `elsewhere` are other servers, of different hosts."""

    here: HearthServer
    name: str
    there: Synthetic
    elsewhere: Synthetic

    def ask(
        self, method: str, path: str, *args: str, body: Any = None, of: Synthetic | None = None, **query: Any
    ) -> httpx.Response:
        """`path` like "v1/state", the arguments are further segments."""
        version, _, rest = path.partition("/")
        prefix = V1 if version == "v1" else V1.replace("v1", version)
        whole = "/".join([prefix, rest, *(quote(each, safe="") for each in args)])
        return (of or self.there).ask(self.name, method, whole, body, **query)

    def get(self, path: str, *args: str, of: Synthetic | None = None, **query: Any) -> Json:
        response = self.ask("GET", path, *args, of=of, **query)
        assert response.status_code == 200, response.text
        body: Json = response.json()
        return body
