"""X-Matrix: the Authorization header of requests between servers.

https://spec.matrix.org/v1.19/server-server-api/#request-authentication

What is signed is the URI exactly as it is sent, percent-encoding included, and the content as canonical
JSON, whatever white space it travels with. The signed object is put together from pieces already encoded,
in the order of its keys.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import orjson

from homeserver.protocol.signing import SigningKey

MAX_HEADER = 4096

# name=value with a quoted or bare value; older servers leave colons (and more) unquoted.
_PARAMETER = re.compile(r'[ \t,]*([A-Za-z0-9_-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))[ \t]*')
_ESCAPE = re.compile(r"\\(.)")


class Authorization(NamedTuple):
    origin: str
    destination: str | None
    key_id: str
    signature: str


def signed_bytes(method: str, uri: str, origin: str, destination: str, content: bytes | None) -> bytes:
    """Canonical JSON of the signed object; `content` is canonical JSON itself."""
    names = [
        (b"destination", orjson.dumps(destination)),
        (b"method", orjson.dumps(method)),
        (b"origin", orjson.dumps(origin)),
        (b"uri", orjson.dumps(uri)),
    ]
    if content is not None:
        names.insert(0, (b"content", content))
    return b"{" + b",".join(b'"%b":%b' % each for each in names) + b"}"


def authorize(
    method: str, uri: str, origin: str, destination: str, content: bytes | None, key: SigningKey
) -> str:
    """The header for a request of ours."""
    signature = key.sign(signed_bytes(method, uri, origin, destination, content))
    return (
        f'X-Matrix origin="{origin}",destination="{destination}",key="{key.key_id}",sig="{signature}"'
    )


def parse(header: str) -> Authorization | None:
    """None for what is no X-Matrix header, or lacks what it must say."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() != "x-matrix" or len(header) > MAX_HEADER:
        return None
    given = dict(_parameters(rest))
    # The specification's text calls it `signature`, its examples and every server `sig`.
    signature = given.get("sig", given.get("signature"))
    if signature is None or not given.get("origin") or not given.get("key"):
        return None
    return Authorization(given["origin"], given.get("destination"), given["key"], signature)


def _parameters(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None:
            return
        name, quoted, bare = match.groups()
        yield name.lower(), _ESCAPE.sub(r"\1", quoted) if quoted is not None else bare
        position = match.end()
