"""cdc doctor on a deployment that works, and on topics that somebody has changed."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.support.bank import make_bank
from tests.support.command import cdc_process
from tests.support.deployment import POLLER, Deployment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka import KafkaBroker

NODE = "node-a"


def test_a_deployment_that_works_has_no_failure_and_changed_topics_have(
    kafka: KafkaBroker, topic: str, tmp_path: Path
):
    source = tmp_path / "bank.db"
    make_bank(source, 40, random.Random(1))

    def doctor() -> tuple[int, dict[str, Any]]:
        where = ("--source", str(source), "--cache", str(tmp_path / f"{NODE}.redb"), "--topic", topic)
        ended = cdc_process(
            "doctor", "--json", *where, "--bootstrap-servers", kafka.bootstrap, cwd=tmp_path, env=None
        )
        return ended.code, {check["check"]: check for check in ended.json()["checks"]}

    code, checks = doctor()
    assert (code, checks[f"{topic}: exists"]["level"]) == (0, "warning")
    with Deployment(tmp_path, source, kafka.bootstrap, topic) as deployment:
        deployment.start_after_snapshot(POLLER, NODE)
        code, checks = doctor()
        assert code == 0, checks
        # One broker: no spare. Nothing else is amiss.
        assert [name for name, check in checks.items() if check["level"] != "ok"] == [
            f"{name}: replicas" for name in (topic, f"{topic}.snapshots", f"{topic}.quarantine")
        ]
        assert "rows were checked" in checks["integrity"]["message"]
        deployment.stop()

    asyncio.run(compact(kafka, topic))
    code, checks = doctor()
    assert code == 1
    assert checks[f"{topic}: cleanup"]["level"] == "failure"


async def compact(kafka: KafkaBroker, topic: str) -> None:
    """Do to a topic what an operator should not."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        config = {"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])
    finally:
        await admin.close()
