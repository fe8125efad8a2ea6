"""What happens between a complete request and its rendered response; the one place that handles errors.

Everything is one coroutine per request. Most never suspend (a cached token, an answer from memory), and
the connection notices and skips the Deferred machinery for those.
"""

from collections.abc import Iterable
from itertools import count
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from homeserver.errors import MatrixError
from homeserver.http.decode import decode_request
from homeserver.http.endpoint import Endpoint
from homeserver.http.rate_limit import RateLimiter, RateLimits
from homeserver.http.request import ClientInfo, HttpRequest
from homeserver.http.response import INTERNAL_ERROR, PREFLIGHT, Rendered, render, render_error
from homeserver.http.router import Router

if TYPE_CHECKING:
    from homeserver.server import Server

log = Logger()


class Application:
    """The declared endpoints over one object graph; any number of listeners share it."""

    def __init__(
        self, server: "Server", routes: Iterable[Endpoint], limits: RateLimits | None = None
    ) -> None:
        self.server = server
        self.router = Router(routes)
        self.limiter = RateLimiter(server.clock, limits or RateLimits())
        self._ids = count(1)

    def new_request(self, address: str) -> HttpRequest:
        return HttpRequest(next(self._ids), address, self.limiter)

    def route(self, request: HttpRequest) -> None:
        """Finds the endpoint as soon as the head is read; an error waits its turn in `failure`."""
        if request.method == "OPTIONS":
            return
        try:
            request.endpoint, request.path_args = self.router.find(request.method, request.path)
        except MatrixError as error:
            request.failure = error

    async def respond(self, request: HttpRequest) -> Rendered:
        try:
            if request.failure is not None:
                raise request.failure
            if request.endpoint is None:
                return PREFLIGHT
            return render(await self._call(request, request.endpoint))
        except MatrixError as error:
            return render_error(error)
        except CancelledError:
            raise
        except Exception:
            log.failure("{method} {path} failed", method=request.method, path=request.path)
            return INTERNAL_ERROR
        finally:
            if request.finished is not None:
                request.finished()

    async def _call(self, request: HttpRequest, endpoint: Endpoint) -> Any:
        me: Any = endpoint.auth.authenticate(self.server, request, endpoint)
        if type(me) is CoroutineType:
            me = await me
        if endpoint.rate is not None:
            self.limiter.check_request(endpoint.rate, me, request.address)
        arguments: list[Any] = []
        for argument in endpoint.arguments:
            if argument == "server":
                arguments.append(self.server)
            elif argument == "me":
                arguments.append(me)
            elif argument == "req":
                assert endpoint.request_type is not None
                arguments.append(decode_request(endpoint, endpoint.request_type, request))
            elif argument == "http":
                arguments.append(request)
            elif argument == "client":
                arguments.append(ClientInfo(request.address, request.user_agent))
            else:
                arguments.append(self.limiter)
        result = endpoint.handler(*arguments)
        if type(result) is CoroutineType:
            result = await result
        return result
