"""Whole servers that find each other as localhost:PORT, with TLS under a test authority."""

import json
from typing import Any

from tests.federation.authority import Authority
from tests.processes import ServerProcess, free_port


def federate(
    server: ServerProcess, authority: Authority, *, public_port: int | None = None, **settings: Any
) -> str:
    """Gives a server that has not started a TLS listener and the name that leads there; the name.

    With `public_port` the name leads to that port, and something else must lead on to `tls_port(server)`.
    """
    port = free_port()
    name = f"localhost:{public_port or port}"
    certificate, key = authority.issue("localhost", "127.0.0.1")
    listener = {
        "port": port,
        "bind_addresses": ["127.0.0.1"],
        "type": "http",
        "tls": True,
        "resources": [{"names": ["federation"]}],
    }
    server.configuration["listeners"].append(listener)
    server.configuration.pop("federation_domain_whitelist", None)
    server.configuration |= {
        "server_name": name,
        "tls_certificate_path": str(certificate),
        "tls_private_key_path": str(key),
        "federation_custom_ca_list": [str(authority.path)],
        "ip_range_whitelist": ["127.0.0.1", "::1"],
        **settings,
    }
    server.config_path.write_text(json.dumps(server.configuration, indent=2))
    return name


def tls_port(server: ServerProcess) -> int:
    """Where a federated server really listens."""
    port: int = server.configuration["listeners"][-1]["port"]
    return port
