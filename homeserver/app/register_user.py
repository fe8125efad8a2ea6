"""`hearth register-user`: makes an account on the running server with the shared secret.

It speaks the protocol of Synapse's `register_new_matrix_user` (GET a nonce, POST with an HMAC-SHA1 over
nonce, name, password and admin), so either tool works with either server.
"""

import getpass
import hashlib
import hmac
import json
import ssl
import sys
import urllib.error
import urllib.request
from typing import Any

from homeserver.app.config import Config

PATH = "/_synapse/admin/v1/register"


class Refused(Exception):
    """The server answered, and the answer was no."""


def register_user(
    config: Config, user: str | None, password: str | None, *, admin: bool, url: str | None
) -> int:
    secret = config.registration_shared_secret
    if secret is None:
        print("Set registration_shared_secret in the configuration and restart the server.", file=sys.stderr)
        return 1
    base = (url or base_url(config)).rstrip("/")
    user = user or input("Name (without @ and server): ").strip()
    if password is None:
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            print("The two differ.", file=sys.stderr)
            return 1
    try:
        nonce = _request(base + PATH)["nonce"]
        answer = _request(base + PATH, registration(secret, nonce, user, password, admin=admin))
    except Refused as error:
        print(f"The server refused: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        print(
            f"Nothing answers at {base} ({reason}). Start the server with `hearth run`, or give --url.",
            file=sys.stderr,
        )
        return 1
    print(f"{answer['user_id']} is there{', an administrator' if admin else ''}.")
    return 0


def base_url(config: Config) -> str:
    """Where the first listener that serves clients answers, seen from this machine."""
    for listener in config.listeners:
        if listener.type == "http":
            address = listener.bind_addresses[0]
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
            host = f"[{host}]" if ":" in host else host
            return f"{'https' if listener.tls else 'http'}://{host}:{listener.port}"
    return config.public_baseurl or f"https://{config.server_name}"


def registration(secret: str, nonce: str, user: str, password: str, *, admin: bool) -> dict[str, Any]:
    signed = b"\0".join(part.encode() for part in (nonce, user, password, "admin" if admin else "notadmin"))
    mac = hmac.new(secret.encode(), signed, hashlib.sha1).hexdigest()
    return {"nonce": nonce, "username": user, "password": password, "admin": admin, "mac": mac}


def _request(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    # The name in the certificate is the public one, and we speak to the loopback address.
    context = ssl._create_unverified_context() if "://127.0.0.1" in url or "://[::1]" in url else None
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        raise Refused(_message(error)) from error


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return f"status {error.code}"
