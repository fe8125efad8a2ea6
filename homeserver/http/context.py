"""The identity of the running request, for log lines written anywhere below it.

It rides in a context variable: Twisted carries those across `await`, so a service logs the request it
works for without being handed it.
"""

from contextvars import ContextVar

request_id: ContextVar[int | None] = ContextVar("request_id", default=None)
