"""A real Kafka broker for tests: controller and broker in one process, which can be killed and restarted."""

from __future__ import annotations

import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.support.parts import missing, need_command
from tests.support.ports import free_port
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

JARS = Path(__file__).parents[2] / ".cache" / "kafka"

_FORMAT_S_MAX = 60
_READY_S_MAX = 90
_PAUSE_S = 0.02
_START_TRIES_MAX = 3
_LOG_LINES_SHOWN = 30

# The quick compiler alone and the plain collector: on two cores a start takes 2.5 s instead of 2.9 s, a
# restart 3.4 s instead of 4.0 s. Under long load such a broker is the slower one: benchmarks need another.
QUICK_START = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

# What Kafka's own start script gives, but for the log of the collector.
LONG_RUN = ("-Xms1g", "-Xmx1g", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20")

_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "CLIENT",
    "auto.create.topics.enable": "false",
    "num.partitions": "1",
    "default.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # A broker that was killed may register again only when its old session has run out.
    "broker.session.timeout.ms": "1500",
    "broker.heartbeat.interval.ms": "500",
    # What a topic's retention allows to go goes within a second, so that tests can see it go.
    "log.initial.task.delay.ms": "500",
    "log.retention.check.interval.ms": "500",
}


@dataclass(frozen=True)
class Member:
    """One node of a cluster: its id, its ports for clients and for controllers, and all controllers."""

    node: int
    ports: tuple[int, int]
    voters: str


class KafkaBroker:
    """One broker on 127.0.0.1, with its data and its log in `directory`.

    Each method waits, for a limited time, until what it says is so. In an event loop with other work write
    ``await asyncio.to_thread(broker.restart)``; only `kill`, `suspend` and `resume` are quick enough to be
    called there directly.

    Args:
        directory: an empty or new folder.
        protocol: security protocol of the client's listener, which is named CLIENT.
        properties: further broker properties, or other values for the ones set here.
        format_arguments: further arguments of Kafka's storage tool, such as ``--add-scram``.
        java: options of the virtual machine.
        member: which node of a cluster this is; None: it is alone.
    """

    def __init__(
        self,
        directory: Path,
        *,
        protocol: str = "PLAINTEXT",
        properties: Mapping[str, str] | None = None,
        format_arguments: Sequence[str] = (),
        java: Sequence[str] = QUICK_START,
        member: Member | None = None,
    ) -> None:
        self._java = (need_command("java"), *java, "-Dlog4j2.level=INFO")
        if not any(JARS.glob("kafka_2.13-*.jar")):
            missing("Kafka", "run `make kafka`")
        self._directory = directory
        self._protocol = protocol
        self._properties = dict(properties or {})
        self._format_arguments = tuple(format_arguments)
        self._member = member
        self._port = 0
        self._process: ServerProcess | None = None
        self.log = directory / "broker.log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def bootstrap(self) -> str:
        """Value for bootstrap_servers; the same over all restarts."""
        return f"127.0.0.1:{self._port}"

    @property
    def running(self) -> bool:
        """Whether the process lives; a suspended one does."""
        return self._process is not None and self._process.running

    def start(self) -> None:
        """Format the storage and start a new broker on free ports; a cluster's member on its own."""
        for _ in range(_START_TRIES_MAX if self._member is None else 1):
            self._format()
            if self._launch():
                return
        raise RuntimeError(f"Kafka found its ports taken {_START_TRIES_MAX} times; {self._log_tail()}")

    def kill(self) -> None:
        """SIGKILL: no goodbye, nothing flushed that the system has not taken already."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """An orderly shutdown; SIGKILL when it takes too long."""
        self.resume()
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Start again with the same data and ports, after `kill` or `stop`; a running broker is stopped."""
        self.stop()
        if not self._launch():
            raise RuntimeError(f"Kafka found its ports taken; {self._log_tail()}")

    def suspend(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        if self._process is not None:
            self._process.suspend()

    def resume(self) -> None:
        """SIGCONT: after `suspend`."""
        self._signal(signal.SIGCONT)

    def ensure_running(self) -> None:
        """Undo what an earlier test left: resume a suspended broker, restart a dead one."""
        if self.running:
            self.resume()
        else:
            self.restart()

    def _format(self) -> None:
        member = self._member
        self._port, controller = (free_port(), free_port()) if member is None else member.ports
        self._directory.mkdir(parents=True, exist_ok=True)
        properties = _PROPERTIES | {
            "log.dirs": str(self._directory / f"data-{self._port}"),
            "listeners": f"CLIENT://127.0.0.1:{self._port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"CLIENT://127.0.0.1:{self._port}",
            "listener.security.protocol.map": f"CLIENT:{self._protocol},CONTROLLER:PLAINTEXT",
        }
        if member is None:
            properties["controller.quorum.bootstrap.servers"] = f"127.0.0.1:{controller}"
        else:
            properties |= {"node.id": str(member.node), "controller.quorum.voters": member.voters}
        lines = (f"{name}={value}\n" for name, value in (properties | self._properties).items())
        self._config.write_text("".join(lines))
        command = self._command("kafka.tools.StorageTool", "format", "--config", str(self._config))
        command += ["--standalone"] if member is None else []
        command += ["--cluster-id", "cdc-tests-cluster-0001", *self._format_arguments]
        with self.log.open("ab") as log:
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=_FORMAT_S_MAX, check=True
            )

    def _launch(self) -> bool:
        """Start the process and wait until it serves; False when another program has taken its ports."""
        started_at = self.log.stat().st_size
        self._process = ServerProcess(self._command("kafka.Kafka", str(self._config)), self.log)
        limit = time.monotonic() + _READY_S_MAX
        while time.monotonic() < limit:
            written = self._log_from(started_at)
            if "Kafka Server started" in written:
                return True
            if not self.running:
                self.kill()
                if "Address already in use" in written:
                    return False
                raise RuntimeError(f"Kafka ended while starting; {self._log_tail()}")
            time.sleep(_PAUSE_S)
        self.kill()
        raise TimeoutError(f"Kafka was not ready after {_READY_S_MAX} s; {self._log_tail()}")

    def _end(self, sign: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end(sign)

    def _signal(self, sign: signal.Signals) -> None:
        if self._process is not None:
            self._process.send(sign)

    def _command(self, main: str, *arguments: str) -> list[str]:
        return [*self._java, "-cp", f"{JARS}/*", main, *arguments]

    @property
    def _config(self) -> Path:
        return self._directory / "broker.properties"

    def _log_from(self, start: int) -> str:
        with self.log.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")

    def _log_tail(self) -> str:
        lines = self._log_from(0).splitlines()[-_LOG_LINES_SHOWN:]
        return "\n".join([f"the end of {self.log}:", *lines])
