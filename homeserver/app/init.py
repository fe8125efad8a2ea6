"""`hearth init`: a configuration and a signing key, ready to run. What is there already is left alone.

A server called `localhost` is for a first try: it listens on the loopback address only, so it lets people
register. Any other name starts closed.
"""

import io
import os
import secrets
from pathlib import Path
from typing import Any

from signedjson.key import generate_signing_key, write_signing_keys

from homeserver.app.config import parse
from homeserver.app.config.example import render

LOCAL = "localhost"
CONFIG_NAME = "homeserver.yaml"


def init(server_name: str, directory: Path) -> int:
    config_path = directory / CONFIG_NAME
    if config_path.exists():
        print(f"{config_path} is there already; nothing was changed.")
        return 0
    text = render(first_values(server_name))
    key_path = parse(text, directory.resolve()).config.signing_key_path  # refuses a bad name
    directory.mkdir(parents=True, exist_ok=True)
    if not key_path.exists():
        write_private(key_path, new_signing_key())
    write_private(config_path, text)
    print(f"Wrote {config_path} and the signing key {directory / key_path.name}. Keep a copy of both.")
    print(f"\nNext:\n  hearth check -c {config_path}\n  hearth run -c {config_path}")
    print(f"  hearth register-user -c {config_path} --admin    (while it runs)")
    return 0


def first_values(server_name: str) -> dict[str, Any]:
    local = server_name == LOCAL
    values: dict[str, Any] = {
        "server_name": server_name,
        "listeners": [
            {
                "port": 8008,
                "bind_addresses": ["127.0.0.1"],
                "type": "http",
                "tls": False,
                "x_forwarded": not local,
                "resources": [{"names": ["client", "federation"]}],
            }
        ],
        "database": {"name": "sqlite3", "args": {"database": "homeserver.db"}},
        "signing_key_path": f"{server_name.replace(':', '_')}.signing.key",
        "registration_shared_secret": secrets.token_urlsafe(32),
    }
    if local:
        values |= {"public_baseurl": "http://127.0.0.1:8008/", "enable_registration": True}
    return values


def new_signing_key() -> str:
    """The line of a key file: `ed25519 a_XXXX <base64 seed>`."""
    stream = io.StringIO()
    write_signing_keys(stream, [generate_signing_key("a_" + secrets.token_hex(3))])
    return stream.getvalue()


def write_private(path: Path, text: str) -> None:
    """Only for our own eyes, from the first moment on."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)
