"""The throw-away PostgreSQL serves databases that know nothing of each other."""

import psycopg2
import pytest

from tests.postgres import PostgresServer


def test_databases_are_separate_and_copied_from_templates(postgres_server: PostgresServer) -> None:
    first = postgres_server.create_database()
    connection = psycopg2.connect(**first)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (n INTEGER)")
    connection.close()

    empty = postgres_server.create_database()
    connection = psycopg2.connect(**empty)
    with connection, connection.cursor() as cursor, pytest.raises(psycopg2.errors.UndefinedTable):
        cursor.execute("SELECT n FROM t")
    connection.close()

    copy = postgres_server.create_database(template=first["dbname"])
    connection = psycopg2.connect(**copy)
    with connection.cursor() as cursor:
        cursor.execute("SELECT n FROM t")
    for database in (first, empty, copy):  # also while connected
        postgres_server.drop_database(database["dbname"])
    connection.close()
