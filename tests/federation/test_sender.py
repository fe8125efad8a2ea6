"""Events to other servers: all of them, in order, once the server is there to take them."""

from typing import Any

from federation.sending import waiting_events
from storage import outgoing
from tests.federation.remote import answer
from tests.federation.sending import ALICE, Inbox, SendingCase


class Events(SendingCase):
    async def test_events_go_out_in_order(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        rooms = [await house.room(inbox.name) for _ in range(3)]
        said = [f"{n} in {n % 3}" for n in range(60)]
        for n, body in enumerate(said):
            await house.say(rooms[n % 3], body)
        await self.until(lambda: len(inbox.bodies) >= 60)
        assert inbox.bodies == said
        assert len(set(inbox.txn_ids)) == len(inbox.txn_ids)
        await self.until(lambda: not house.sender.status())

    async def test_what_waits_is_sent_together_within_the_limits(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        room = await house.room(inbox.name)
        said = [str(n) for n in range(130)]
        await house.say(room, *said)
        await self.until(lambda: len(inbox.bodies) >= 130)
        assert inbox.bodies == said
        assert max(len(transaction["pdus"]) for transaction in inbox.transactions) == 50

    async def test_servers_that_are_not_there_get_nothing(self) -> None:
        house, inbox, other = await self.make_house(), Inbox(self), Inbox(self)
        room = await house.room(inbox.name)
        await house.room(other.name)
        await house.say(room, "hello")
        await house.post(room, "from elsewhere", sender=f"@zoe:{other.name}")
        await self.until(lambda: inbox.bodies)
        await self.rest()
        assert inbox.bodies == ["hello"]
        assert other.bodies == []

    async def test_the_server_of_the_sender_does_not_get_its_own_event(self) -> None:
        house, inbox, other = await self.make_house(), Inbox(self), Inbox(self)
        room = await house.room(inbox.name, other.name)
        await self.until(lambda: inbox.transactions)
        await self.rest()
        senders = [pdu["sender"] for each in inbox.transactions for pdu in each["pdus"]]
        assert senders == [f"@zoe:{other.name}"]  # came in through us after it
        await house.say(room, "hello")
        await self.until(lambda: inbox.bodies and other.bodies)

    async def test_one_more_server_is_told(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        room = await house.room()
        await house.post(room, "you are not invited any more", also=inbox.name)
        await house.say(room, "among ourselves")
        await self.until(lambda: inbox.bodies)
        await self.rest()
        assert inbox.bodies == ["you are not invited any more"]

    async def test_a_server_that_left_and_came_back_gets_exactly_its_events(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        zoe = f"@zoe:{inbox.name}"
        inbox.away = True
        room = await house.room()
        await house.say(room, "before")
        await house.member(room, zoe)
        await house.say(room, "during")
        await house.member(room, zoe, "leave", sender=ALICE)
        await house.say(room, "meanwhile")
        await house.member(room, zoe)
        await house.say(room, "again")
        await self.until(lambda: inbox.tried)
        inbox.away = False
        await self.until(lambda: "again" in inbox.bodies, step=1)
        assert inbox.bodies == ["during", "again"]
        kicked = [pdu for each in inbox.transactions for pdu in each["pdus"] if pdu["sender"] == ALICE]
        assert [pdu["content"].get("membership") for pdu in kicked] == [None, "leave", None]

    async def test_a_whitelist_is_respected(self) -> None:
        inbox, other = Inbox(self), Inbox(self)
        house = await self.make_house(whitelist=[inbox.name])
        room = await house.room(inbox.name, other.name)
        await house.say(room, "hello")
        await self.until(lambda: inbox.bodies)
        await self.rest()
        assert other.tried == 0
        assert [each.server_name for each in house.sender.status()] == []


class Outages(SendingCase):
    async def test_an_outage_of_many_events_in_many_rooms(self) -> None:
        house, inbox, present = await self.make_house(), Inbox(self), Inbox(self)
        rooms = [await house.room(inbox.name, present.name) for _ in range(20)]
        await self.until(lambda: not house.sender.status())
        inbox.away = True
        said = []
        for n in range(300):
            said.append(f"{n} in {n % 20}")
            await house.say(rooms[n % 20], said[-1])
        await self.until(lambda: len(present.bodies) == 300)
        # Who is away is behind, and no event is kept in memory for them.
        await self.until(
            lambda: [
                (each.server_name, each.held) for each in house.sender.status() if each.waiting
            ] == [(inbox.name, 0)]
        )
        assert inbox.tried < 5
        inbox.away = False
        await self.until(lambda: len(inbox.bodies) >= 300, step=1)
        assert inbox.bodies == said
        await self.until(lambda: not house.sender.status())
        # From memory again: no reading for those who keep up.
        await house.say(rooms[0], "and on")
        await self.until(lambda: inbox.bodies[-1] == "and on")

    async def test_events_that_come_while_catching_up(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        room = await house.room(inbox.name)
        inbox.away = True
        said = [str(n) for n in range(120)]
        await house.say(room, *said[:100])
        inbox.away = False
        for body in said[100:]:
            await house.say(room, body)
            await self.passes(1)
        await self.until(lambda: len(inbox.bodies) >= 120, step=1)
        assert inbox.bodies == said

    async def test_a_server_that_asks_something_gets_what_waits_at_once(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        room = await house.room(inbox.name)
        inbox.away = True
        await house.say(room, "hello")
        await self.until(lambda: inbox.tried)
        await self.rest(10)
        inbox.away = False
        tried = inbox.tried
        await self.rest(10)
        assert inbox.tried == tried
        house.here.destinations.answered(inbox.name)
        await self.until(lambda: inbox.bodies, step=0.001)

    async def test_more_than_memory_holds(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        room = await house.room(inbox.name)
        self.set_in(waiting_events, "MOST_HELD", 10)
        self.set_in(waiting_events, "PAGE", 7)
        said = [str(n) for n in range(60)]
        await house.say(room, *said)
        assert house.sender.status()[0].held <= 10
        await self.until(lambda: len(inbox.bodies) >= 60)
        assert inbox.bodies == said

    async def test_a_restart_in_the_middle(self) -> None:
        await self._restart_in_the_middle(crash=False)

    async def test_a_crash_in_the_middle(self) -> None:
        await self._restart_in_the_middle(crash=True)

    async def _restart_in_the_middle(self, *, crash: bool) -> None:
        house, inbox, present = await self.make_house(), Inbox(self), Inbox(self)
        room = await house.room(inbox.name, present.name)
        await self.until(lambda: not house.sender.status())
        inbox.away = True
        said = [str(n) for n in range(70)]
        await house.say(room, *said[:40])
        await self.until(lambda: len(present.bodies) >= 40)
        await self.passes(10)
        inbox.away = False
        await house.restart(crash=crash)
        await house.say(room, *said[40:])
        await self.until(lambda: len(set(inbox.bodies)) >= 70, step=1)
        await self.until(lambda: len(set(present.bodies)) >= 70)
        assert inbox.bodies == said
        assert list(dict.fromkeys(present.bodies)) == said
        if not crash:
            assert present.bodies == said
        await self.until(lambda: not house.sender.status())

    async def test_a_clean_restart_repeats_nothing(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        room = await house.room(inbox.name)
        await house.say(room, "once")
        await self.until(lambda: not house.sender.status())
        await house.restart()
        await self.rest()
        assert inbox.bodies == ["once"]
        assert house.sender.status() == []
        position, lags = await house.here.db.read(outgoing.progress)
        assert (position, lags) == (house.here.db.position, {})

    async def test_transaction_ids_stay_for_the_same_contents_only(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        room = await house.room(inbox.name)
        uris = inbox.remote.asked
        inbox.away = True
        await house.say(room, "hello")
        await self.until(lambda: len(uris) >= 3, step=1)
        inbox.away = False
        await self.until(lambda: inbox.bodies, step=5)
        await house.say(room, "hello")
        await self.until(lambda: len(inbox.bodies) == 2)
        ids = [asked.uri for asked in uris]
        assert len(set(ids)) == 2 and len(set(ids[:-1])) == 1


class Refusals(SendingCase):
    async def test_an_event_that_is_never_taken_is_left_out(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        room = await house.room(inbox.name)
        await self.until(lambda: not house.sender.status())
        inbox.refuse = lambda sent: 400 if any("poison" in str(pdu) for pdu in sent["pdus"]) else None
        said = [f"poison {n}" if n in (20, 21, 45) else str(n) for n in range(80)]
        await house.say(room, *said)
        await self.until(lambda: len(inbox.bodies) >= 77)
        assert inbox.bodies == [body for body in said if "poison" not in body]
        await self.until(lambda: not house.sender.status())

    async def test_a_server_that_refuses_everything_loses_nothing(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        room = await house.room(inbox.name)
        await self.until(lambda: not house.sender.status())
        for status in (400, 403, 500):
            inbox.transactions.clear()
            inbox.refuse = lambda sent, status=status: status  # type: ignore[misc]
            said = [f"{n} {status}" for n in range(30)]
            await house.say(room, *said)
            tried = inbox.tried
            await self.rest()
            assert inbox.bodies == []
            assert inbox.tried - tried < 10
            inbox.refuse = lambda sent: None
            await self.until(lambda: len(inbox.bodies) >= 30, step=2)
            assert inbox.bodies == said

    async def test_an_answer_that_is_no_json_is_no_delivery(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        room = await house.room(inbox.name)
        await self.until(lambda: not house.sender.status())
        take, inbox.remote.reply = inbox.remote.reply, lambda asked: answer(b"<html>")
        await house.say(room, "hello")
        await self.rest()
        inbox.remote.reply = take
        await self.until(lambda: inbox.bodies, step=2)

    async def test_rows_do_not_grow_with_the_servers(self) -> None:
        house = await self.make_house()
        inboxes = [Inbox(self) for _ in range(12)]
        room = await house.room(*[each.name for each in inboxes])
        await self.until(lambda: not house.sender.status())
        await self.passes(10)
        await self.rest()
        before = await house.here.db.read(_rows)
        await house.say(room, *[str(n) for n in range(10)])
        await self.until(lambda: all(len(each.bodies) == 10 for each in inboxes))
        await self.until(lambda: not house.sender.status())
        await self.passes(10)
        await self.rest()
        after = await house.here.db.read(_rows)
        grown = {name: after[name] - before[name] for name in after if after[name] != before[name]}
        assert grown == {"event": 10, "outgoing": 10}


def _rows(tx: Any) -> dict[str, int]:
    tables = [name for (name,) in tx.all("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: tx.value(f"SELECT count(*) FROM {name}") for name in tables}
