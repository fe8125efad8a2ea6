"""TLS towards other servers: one context for all connections, and the check of whose certificate it is.

https://spec.matrix.org/v1.19/server-server-api/#tls

Loading the trusted authorities costs tens of milliseconds, so the context is made once; which name a
connection must prove rides on the connection itself. The name is checked before a byte of a request leaves.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.python.failure import Failure
from zope.interface import implementer

from federation.addresses import as_address


class ClientTls:
    """`authorities`: PEM files trusted instead of the system's. `verify=False` is for tests alone."""

    def __init__(self, authorities: Sequence[Path] = (), *, verify: bool = True) -> None:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_alpn_protos([b"http/1.1"])
        if verify:
            if authorities:
                for path in authorities:
                    context.load_verify_locations(str(path))
            else:
                context.set_default_verify_paths()
            context.set_verify(SSL.VERIFY_PEER, lambda connection, cert, errno, depth, ok: bool(ok))
            context.set_info_callback(_on_handshake)
        self._context = context

    def for_name(self, name: str) -> "_Connecting":
        """What `wrapClientTLS` takes, for a connection to whoever proves to be `name` (or an address)."""
        return _Connecting(self._context, name)


@implementer(IOpenSSLClientConnectionCreator)
class _Connecting:
    def __init__(self, context: SSL.Context, name: str) -> None:
        self._context = context
        self._name = name

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        address = as_address(self._name)
        if address is None:
            connection.set_tlsext_host_name(self._name.encode("ascii"))
        tlsProtocol.must_be = (self._name, address)
        connection.set_app_data(tlsProtocol)
        return connection


def _on_handshake(connection: SSL.Connection, where: int, ret: int) -> None:
    """OpenSSL goes on whatever this raises, so whatever is wrong must end the connection here."""
    if not where & SSL.SSL_CB_HANDSHAKE_DONE:
        return
    protocol = connection.get_app_data()
    try:
        name, address = protocol.must_be
        if address is not None:
            verify_ip_address(connection, address)
        else:
            verify_hostname(connection, name)
    except Exception:
        failure: Any = Failure  # untyped in Twisted
        protocol.failVerification(failure())
