"""Which versions of the specification are served, and which features beyond it.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientversions

Clients each look for a range of their own, so the list has no gaps.
"""

import orjson

from homeserver.http.endpoint import OPEN, get
from homeserver.server import Server

VERSIONS = ["r0.6.1", *(f"v1.{minor}" for minor in range(1, 20))]

# Everything that is announced under an unstable name, in one place: add a feature with the code serving it.
UNSTABLE_FEATURES = {
    "org.matrix.e2e_cross_signing": True,
    "org.matrix.simplified_msc3575": True,
    "org.matrix.msc3814": True,
    "org.matrix.msc3391": True,
    "org.matrix.msc4140": True,
    "org.matrix.msc4143": True,
    "org.matrix.msc4306": True,
    "uk.timedout.msc4323": True,
    "computer.gingershaped.msc4466": True,
}

# Those that an operator may switch off.
_RENDEZVOUS_FEATURES = {"org.matrix.msc4108": True, "io.element.msc4388": True}


def _answer(features: dict[str, bool]) -> bytes:
    return orjson.dumps({"versions": VERSIONS, "unstable_features": features})


_ANSWER = _answer(UNSTABLE_FEATURES)
_ANSWER_WITH_RENDEZVOUS = _answer(UNSTABLE_FEATURES | _RENDEZVOUS_FEATURES)


@get("/_matrix/client/versions", auth=OPEN)
def versions(server: Server) -> bytes:
    return _ANSWER_WITH_RENDEZVOUS if server.rendezvous.enabled else _ANSWER
