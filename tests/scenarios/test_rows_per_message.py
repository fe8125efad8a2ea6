"""A message costs the same number of database rows whatever the number of members.

PostgreSQL keeps with each row the transaction that wrote it (`xmin`), which finds updates as well as inserts.
"""

import asyncio
import time
from typing import Any

import psycopg2
import pytest

from tests.harness import HearthServer
from tests.processes import SHARED_SECRET
from tests.wire import Wire

FEW, MANY = 3, 60


@pytest.fixture
def connection(server: HearthServer) -> Any:
    if server.engine != "postgres":
        pytest.skip("rows are counted on PostgreSQL")
    connection = psycopg2.connect(**server.process.configuration["database"]["args"])
    connection.autocommit = True
    yield connection
    connection.close()


def test_rows_written_for_a_message(server: HearthServer, connection: Any) -> None:
    asyncio.run(compare(server, connection))


async def compare(server: HearthServer, connection: Any) -> None:
    wires = [Wire(server.process.port) for _ in range(MANY)]
    for number, wire in enumerate(wires):
        await wire.register(f"counted{number}", SHARED_SECRET)
    small = await wires[0].create_room(preset="public_chat")
    large = await wires[0].create_room(preset="public_chat")
    for wire in wires[1:]:
        await wire.join(large)
    for wire in wires[1:FEW]:
        await wire.join(small)
    few = await rows_of_a_message(wires[0], small, connection)
    many = await rows_of_a_message(wires[0], large, connection)
    for wire in wires:
        wire.close()
    assert few == many
    assert 1 <= sum(few.values()) <= 12, few


async def rows_of_a_message(wire: Wire, room_id: str, connection: Any) -> dict[str, int]:
    """How many rows of each table ten messages wrote, in tenths rounded down; stragglers are waited for."""
    await wire.send(room_id, "the first wakes the room")
    quiet(connection)
    before = newest_transaction(connection)
    for number in range(10):
        await wire.send(room_id, f"message {number}")
    quiet(connection)
    return {table: rows // 10 for table, rows in written_since(connection, before).items() if rows >= 10}


def quiet(connection: Any) -> None:
    """Until no transaction has been begun for a while."""
    last = newest_transaction(connection)
    while True:
        time.sleep(0.5)
        now = newest_transaction(connection)
        if now <= last + 1:  # asking takes one itself
            return
        last = now


def newest_transaction(connection: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT txid_current()")
        newest: int = cursor.fetchone()[0]
        return newest


def written_since(connection: Any, transaction: int) -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
        tables = [row[0] for row in cursor.fetchall()]
        counts = {}
        for table in tables:
            cursor.execute(f'SELECT count(*) FROM "{table}" WHERE xmin::text::bigint > %s', [transaction])
            counts[table] = cursor.fetchone()[0]
        return counts
