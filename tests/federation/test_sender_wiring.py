"""A whole server sends: what was given to it goes out, whatever happens to either side."""

from typing import Any

from twisted.internet.threads import deferToThread

from tests.federation.processes import federate
from tests.federation.sending import Inbox, SendingCase
from tests.harness import HearthServer, ok


class WholeServer(SendingCase):
    timeout = 120

    async def test_messages_to_devices_outlive_the_kill_of_their_server(self) -> None:
        server = HearthServer("sqlite", self.directory / "hearth")
        name = federate(server.process, self.authority)
        inbox = Inbox(self, name)
        zoe = f"@zoe:{inbox.name}"

        def run(call: Any, *args: Any) -> Any:
            return deferToThread(call, *args)

        await run(server.start)
        self.addCleanup(lambda: run(server.close))
        alice = await run(server.register, "alice")

        def send(text: str) -> None:
            path = f"/sendToDevice/m.test/{text}"
            ok(alice.put(path, {"messages": {zoe: {"PHONE": {"text": text}}}}))

        def heard() -> list[str]:
            return [each["messages"][zoe]["PHONE"]["text"] for each in inbox.edus("m.direct_to_device")]

        await run(send, "at-once")
        await self.until(lambda: heard() == ["at-once"], seconds=20)
        inbox.away = True
        for text in ("one", "two"):
            await run(send, text)
        await self.until(lambda: inbox.tried > 1, seconds=20)
        await run(server.kill)
        inbox.away = False
        await run(server.start)
        await self.until(lambda: heard() == ["at-once", "one", "two"], seconds=40)
        assert "Traceback" not in server.log()
