"""A gateway and a server as processes: from the configuration to the end by SIGTERM."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import FileIO
from typing import TYPE_CHECKING

from ledger.gateway.gateway import Gateway
from ledger.node import Node
from ledger.registry import Registry, RegistryError
from ledger.service.clock import LedgerClock
from ledger.service.config import GatewayConfig, NodeConfig, ServerConfig
from ledger.service.events import EventLog
from ledger.service.exchange import Exchange, ExchangeError
from ledger.service.identity import load_key, load_registry
from ledger.service.inbox import Inbox
from ledger.service.radio import radio_maker
from ledger.service.runner import Runner, Works
from ledger.service.systemd import Supervisor
from ledger.service.table import ConfigError
from ledger.store import StoreError
from ledger.store.sqlite import SqliteStore
from ledger.verify import open_for_reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nacl.signing import SigningKey


class ServiceError(RuntimeError):
    """A daemon cannot start beside what runs already; the message names it and the mend."""


START_ERRORS = (ConfigError, RegistryError, StoreError, ExchangeError, ServiceError)
"""What keeps a daemon from starting: each is one sentence for whoever started it."""


@dataclass(frozen=True)
class _Member:
    key: SigningKey
    registry: Registry


def check(config: GatewayConfig | ServerConfig) -> str:
    """Check all that a daemon would read before it starts, and say what it would be. Raises START_ERRORS."""
    member = _member(config.node)
    store = config.node.store
    if _has_store(config.node):
        _check_store(store, member.registry)
    elif not os.access(store.parent, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{config.node.file}: key store: {store.parent} is no folder that this user may write to;"
            " make it, or mend its owner"
        )
    if isinstance(config, GatewayConfig):
        role = f"gateway, {len(member.registry.meters)} meters, {len(config.peers)} peers to call"
    else:
        role = f"server on {config.listen}, {len(config.peers)} peers admitted"
    return (
        f"{config.node.name}: {role}, registry epoch {member.registry.epoch},"
        f" public key {bytes(member.key.verify_key).hex()}"
    )


def run_gateway(config: GatewayConfig) -> None:
    """Run a gateway until SIGTERM or SIGINT. Raises START_ERRORS."""
    with ExitStack() as stack:
        member, store = _take_up(config.node, stack)
        make_radio = radio_maker(config.wires, config.settings)
        inbox = Inbox()
        exchange = Exchange(config.node.name, inbox.post, calls=config.peers)

        def build() -> Works:
            node = Node(member.key, member.registry, store)
            radio = make_radio(Gateway(node, member.registry, store, config.batch))
            return Works(radio.handle, radio)

        _run("gateway", config.node.name, member, build, store, exchange, inbox)


def run_server(config: ServerConfig) -> None:
    """Run a server until SIGTERM or SIGINT. Raises START_ERRORS."""
    with ExitStack() as stack:
        member, store = _take_up(config.node, stack)
        inbox = Inbox()
        exchange = Exchange(config.node.name, inbox.post, listen=config.listen, admits=config.peers)

        def build() -> Works:
            return Works(Node(member.key, member.registry, store).handle, None)

        _run("server", config.node.name, member, build, store, exchange, inbox)


def _member(config: NodeConfig) -> _Member:
    _has_store(config)
    key = load_key(config.signing_key)
    return _Member(key, load_registry(config.registry, key))


def _has_store(config: NodeConfig) -> bool:
    """Tell whether the store is there already. Raises ConfigError where none can be."""
    try:
        mode = config.store.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise ConfigError(
            f"{config.file}: key store: {config.store}: {error.strerror};"
            " name a file in a folder that this user may enter"
        ) from None
    if stat.S_ISDIR(mode):
        raise ConfigError(
            f"{config.file}: key store: it is a folder, {config.store}; give the path of a file in it"
        )
    return True


def _take_up(config: NodeConfig, stack: ExitStack) -> tuple[_Member, SqliteStore]:
    member = _member(config)
    stack.enter_context(_alone_on(config.store))
    store = SqliteStore(config.store)
    stack.callback(store.close)
    store.put_registry(member.registry)
    return member, store


def _check_store(path: Path, registry: Registry) -> None:
    store = open_for_reading(path)
    try:
        store.lacks_registry(registry)
    finally:
        store.close()


@contextmanager
def _alone_on(store: Path) -> Iterator[None]:
    """Keep a second daemon off a store: two that sign with one key would make it a fraud's."""
    path = store.with_name(f"{store.name}.lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(
            f"{path}: {error.strerror}; check that its folder exists and may be written"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ServiceError(f"{store}: another daemon runs on this store; stop that one first") from None
    finally:
        os.close(descriptor)


def _run(
    role: str,
    name: str,
    member: _Member,
    build: Callable[[], Works],
    store: SqliteStore,
    exchange: Exchange,
    inbox: Inbox,
) -> None:
    events = EventLog(FileIO(sys.stdout.fileno(), "wb", closefd=False), time.time_ns)
    runner = Runner(build, store, exchange, inbox, LedgerClock(), events, Supervisor())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runner.stop())
    exchange.start()
    events.tell(
        "started",
        role=role,
        name=name,
        public_key=bytes(member.key.verify_key),
        registry_epoch=member.registry.epoch,
        port=exchange.port,
        pid=os.getpid(),
    )
    try:
        runner.run()
    finally:
        exchange.stop()
    events.tell("stopped")
    events.flush()
