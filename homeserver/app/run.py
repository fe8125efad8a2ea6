"""`hearth run`: opens the database, builds the server, listens, and stops in an orderly way."""

import gc
import os
import sys
from typing import Any

from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import (
    FilteringLogObserver,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python.threadpool import ThreadPool

import homeserver.admin
import homeserver.client  # noqa: F401  (both packages declare their endpoints when imported)
from homeserver.app.config import Config, Listener
from homeserver.app.db import engine_of
from homeserver.app.rate_limits import rate_limits
from homeserver.app.wiring import build
from homeserver.http.application import Application
from homeserver.http.endpoint import ROUTES
from homeserver.http.server import HttpFactory
from homeserver.protocol.signing import read_signing_keys
from homeserver.server import Server
from storage import migrations

log = Logger()

PASSWORD_THREADS = 2
SWITCH_SECONDS = 0.0001


def run(config: Config) -> int:
    """Serves until it is told to stop; the exit status, 1 if it could not start."""
    _begin_logging(config.log_level)
    engine = engine_of(config)
    for name in migrations.upgrade(engine):
        log.info("schema: applied {name}", name=name)
    pool = ThreadPool(0, PASSWORD_THREADS, "hearth-passwords")
    pool.start()
    signing_key = read_signing_keys(config.signing_key_path.read_text())[0]
    server = build(config, engine, signing_key, reactor, pool)
    failures: list[Any] = []
    _the_reactor().callWhenRunning(_start, config, server, failures)
    _the_reactor().addSystemEventTrigger("before", "shutdown", _stop, server, pool)
    # What is made from here on is mostly requests, freed by counting references: looking for cycles in all
    # that was imported would cost a pause again and again and find nothing.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    # The database threads hold the interpreter for microseconds at a time; with the 5 ms that are usual they
    # would wait longer for a busy reactor to let go of it than for the database.
    sys.setswitchinterval(SWITCH_SECONDS)
    if "HEARTH_PROFILE" in os.environ:
        _profiled(os.environ["HEARTH_PROFILE"])
    else:
        _the_reactor().run()
    return 1 if failures else 0


def _the_reactor() -> Any:
    return reactor


def _start(config: Config, server: Server, failures: list[Any]) -> None:
    server.db.start()
    started = Deferred.fromCoroutine(_listen(config, server))
    started.addErrback(_failed, failures)


async def _listen(config: Config, server: Server) -> None:
    await server.push_rules.load()
    await server.subscribers.load()
    if server.server_notices is not None:
        await server.server_notices.prepare()
    await server.deactivation.resume()
    await server.incoming.partial.resume()
    await server.delayed_events.resume()
    await server.remote_lists.resume()
    if server.search_index is not None:
        await server.search_index.start()
    if server.user_directory is not None:
        await server.user_directory.start()
    application = Application(server, ROUTES, rate_limits(config))
    for listener in config.listeners:
        factory = HttpFactory(application, reactor, x_forwarded=listener.x_forwarded)
        for address in listener.bind_addresses:
            port = _open(config, listener, address, factory)
            log.info("listening on {address}", address=port.getHost())
    await server.sender.start()
    server.unheard_leaves.start()
    log.info("Hearth serves {name}", name=config.server_name)


def _open(config: Config, listener: Listener, address: str, factory: HttpFactory) -> Any:
    if not listener.tls:
        return _the_reactor().listenTCP(listener.port, factory, backlog=1024, interface=address)
    context = _tls_context(str(config.tls_private_key_path), str(config.tls_certificate_path))
    return _the_reactor().listenSSL(listener.port, factory, context, backlog=1024, interface=address)


def _tls_context(key_path: str, certificate_path: str) -> Any:
    factory: Any = ssl.DefaultOpenSSLContextFactory  # untyped in Twisted
    context = factory(key_path, certificate_path)
    context.getContext().use_certificate_chain_file(certificate_path)
    return context


def _failed(failure: Any, failures: list[Any]) -> None:
    failures.append(failure)
    if failure.check(CannotListenError):
        log.error("Hearth could not start: {reason}. `hearth check` says more.", reason=failure.value)
    else:
        log.failure("Hearth could not start", failure)
    _the_reactor().stop()


def _stop(server: Server, pool: ThreadPool) -> "Deferred[None]":
    async def stop() -> None:
        await server.sender.stop()
        server.unheard_leaves.stop()
        if server.search_index is not None:
            await server.search_index.stop()
        if server.user_directory is not None:
            await server.user_directory.stop()
        await server.devices.flush()
        await server.sync.inbox.flush()
        await server.presence.stop()
        server.typing.stop_all()
        server.delayed_events.stop()
        server.remote_lists.stop()
        # The writer hands its last results to the reactor, which must not wait for it meanwhile.
        pool.stop()

    stopped = Deferred.fromCoroutine(stop())
    stopped.addErrback(lambda failure: log.failure("while stopping", failure))
    stopped.addBoth(lambda _: server.db.stop())
    return stopped


def _begin_logging(level: str) -> None:
    levels = {
        "DEBUG": LogLevel.debug,
        "INFO": LogLevel.info,
        "WARNING": LogLevel.warn,
        "ERROR": LogLevel.error,
    }
    # zope's interfaces are not known to the type checker
    filtering: Any = FilteringLogObserver
    predicate: Any = LogLevelFilterPredicate(levels[level])
    observer: Any = filtering(textFileLogObserver(sys.stderr), [predicate])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def _profiled(path: str) -> None:
    """For developers: HEARTH_PROFILE=FILE writes a cProfile of the reactor's thread to FILE at the end."""
    import cProfile

    profile = cProfile.Profile()
    profile.runcall(_the_reactor().run)
    profile.dump_stats(path)
