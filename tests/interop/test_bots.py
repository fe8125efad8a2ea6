"""Bots made with mautrix-python and matrix-bot-sdk join, answer and read state."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import Client, HearthServer, Json, ok, room_path
from tests.processes import PEERS
from tests.waiting import until

pytestmark = pytest.mark.interop

HERE = Path(__file__).parent
MAUTRIX = PEERS / "mautrix" / "bin" / "python"
BOTS = PEERS / "bots"


def mautrix(url: str, bot: Client) -> list[str]:
    if not MAUTRIX.exists():
        pytest.skip(f"mautrix is not at {MAUTRIX}: run `make interop`")
    return [str(MAUTRIX), str(HERE / "mautrix_bot.py"), url, bot.user_id, bot.access_token]


def bot_sdk(url: str, bot: Client) -> list[str]:
    node = shutil.which("node")
    if node is None or not (BOTS / "node_modules").exists():
        pytest.skip(f"there is no Node, or matrix-bot-sdk is not at {BOTS}: run `make interop`")
    return [node, str(HERE / "js" / "bot.mjs"), url, bot.access_token, str(BOTS)]


@pytest.mark.parametrize("command", [mautrix, bot_sdk])
def test_a_bot_describes_the_room_it_is_invited_to(
    server: HearthServer, tmp_path: Path, command: Callable[[str, Client], list[str]]
) -> None:
    alice, bot = server.register("alice"), server.register("bot")
    log = tmp_path / "bot.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command(server.url, bot), stdout=output, stderr=output)

    def members() -> list[str]:
        return sorted(ok(alice.get(f"{room_path(room)}/joined_members"))["joined"])

    def answers() -> list[Json]:
        contents = [event["content"] for event in alice.timeline(room) if event["sender"] == bot.user_id]
        return [content for content in contents if "body" in content]

    try:
        # Version 11, for the libraries know nobody who has power without standing among the power levels.
        room = alice.create_room(name="Kitchen", room_version="11", invite=[bot.user_id])
        until(lambda: bot.user_id in members(), what="the bot to join")
        asked = alice.send(room, "!describe")
        content = until(answers, what="the answer")[0]
    except AssertionError as error:
        raise AssertionError(f"{error}\n{log.read_text(errors='replace')[-4000:]}") from None
    finally:
        process.kill()
        process.wait()
    assert content["m.relates_to"]["m.in_reply_to"]["event_id"] == asked
    # Before it may stand what it answers to.
    assert json.loads(content["body"].splitlines()[-1]) == {
        "name": "Kitchen",
        "members": members(),
        "may_kick": True,
        "creations": 1,
    }
