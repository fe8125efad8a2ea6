"""What `make run` prints: where the server is, what to do next. `python -m homeserver.app.welcome FILE`."""

import sys
from pathlib import Path

from homeserver.app.config import Config, ConfigError, load
from homeserver.app.register_user import base_url


def welcome(path: Path, config: Config) -> str:
    url = base_url(config)
    register = f".venv/bin/hearth register-user -c {path}"
    first = (
        f'Make the first account there ("Create account"), or an administrator:\n       {register} --admin'
        if config.enable_registration
        else f"Make accounts from a second terminal (--admin for an administrator):\n       {register}"
    )
    return f"""
Hearth is starting at {url}  (configuration {path}; Ctrl-C stops it)

  1. Point a Matrix client at it: on the sign-in page choose the homeserver {url}
     in Element Web or Desktop, Cinny, nheko, NeoChat, Fractal, gomuks …
  2. {first}
  3. Make another, sign in with a second client, and chat.

If something does not work:  .venv/bin/hearth check -c {path}
To serve others:             docs/operate/quickstart.md
"""


if __name__ == "__main__":
    try:
        print(welcome(Path(sys.argv[1]), load(Path(sys.argv[1])).config), flush=True)
    except ConfigError as error:
        sys.exit(str(error))
