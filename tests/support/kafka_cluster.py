"""Three real Kafka nodes for tests, each broker and controller, to be killed and restarted one by one."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from aiokafka.admin import AIOKafkaAdminClient

from schemas.kafka_clients import start_client
from tests.support.conditions import wait_until
from tests.support.kafka import KafkaBroker, Member
from tests.support.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

NODES = (1, 2, 3)
_LIMIT_S = 60.0
# 0.7 GB for all three: enough for a test.
_JAVA = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_PROPERTIES = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    # A follower that was killed is left out soon, so that the others go on.
    "replica.lag.time.max.ms": "3000",
}


class KafkaCluster:
    """Use as ``with``; topics have three replicas, two of which must have a record before it counts.

    Args:
        directory: an empty or new folder.
    """

    def __init__(self, directory: Path) -> None:
        ports = {node: (free_port(), free_port()) for node in NODES}
        voters = ",".join(f"{node}@127.0.0.1:{controller}" for node, (_, controller) in ports.items())
        self.brokers = {
            node: KafkaBroker(
                directory / f"node-{node}",
                properties=_PROPERTIES,
                java=_JAVA,
                member=Member(node, ports[node], voters),
            )
            for node in NODES
        }

    def __enter__(self) -> Self:
        # None of them is ready without another one.
        with ThreadPoolExecutor(len(NODES)) as pool:
            try:
                list(pool.map(KafkaBroker.start, self.brokers.values()))
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        for broker in self.brokers.values():
            broker.kill()

    @property
    def bootstrap(self) -> str:
        """Value for bootstrap_servers."""
        return ",".join(broker.bootstrap for broker in self.brokers.values())

    def leader(self, topic: str) -> int:
        """The node that leads the topic's partition now."""
        return wait_until(
            lambda: max(0, self._partition(topic).get("leader", 0)), _LIMIT_S, f"{topic} has a leader"
        )

    def wait_in_sync(self, topic: str, replicas: int = len(NODES)) -> None:
        """Return when so many replicas have everything."""
        wait_until(
            lambda: len(self._partition(topic).get("isr", ())) >= replicas,
            _LIMIT_S,
            f"{replicas} replicas of {topic} are in sync",
        )

    def _partition(self, topic: str) -> dict[str, Any]:
        running = [broker.bootstrap for broker in self.brokers.values() if broker.running]
        return asyncio.run(_partition(",".join(running), topic))


async def _partition(bootstrap: str, topic: str) -> dict[str, Any]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    async with asyncio.timeout(_LIMIT_S):
        await start_client(admin)
        try:
            (described,) = await admin.describe_topics([topic])
        finally:
            await admin.close()
    return next(iter(described["partitions"]), {})
