"""The whole path through a broker that asks for certificates and a password, while parts of it are killed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.support.bank import Writers, make_bank
from tests.support.commands import USAGE, cdc
from tests.support.deployment import KAFKA_NODES, Deployment
from tests.support.kafka import KafkaBroker
from tests.support.pem import self_signed
from tests.support.watcher import Watcher

if TYPE_CHECKING:
    from pathlib import Path

_LOGIN = 'org.apache.kafka.common.security.scram.ScramLoginModule required username="cdc" password="{}";'
_WORD = "a word of the broker's"
_TRANSACTIONS = 200

pytestmark = pytest.mark.kafka


@pytest.mark.slow
def test_poller_and_nodes_work_over_tls_with_scram_and_survive_kills(
    tmp_path: Path, topic: str, monkeypatch: pytest.MonkeyPatch
):
    server, client = self_signed(tmp_path, "server"), self_signed(tmp_path, "client")
    trusted = tmp_path / "trusted.pem"
    # Its own certificate too: the broker tries its listener's settings by connecting to itself.
    trusted.write_text(client.certificate.read_text() + server.certificate.read_text())
    listener = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(server.both),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(trusted),
        "ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "scram-sha-512.sasl.jaas.config": _LOGIN.format(_WORD),
    }
    config = tmp_path / "cdc.toml"
    monkeypatch.setenv("BROKER_WORD", _WORD)
    # TLS waits for the other side to agree to a close: what was given up just before the end of a process is
    # then still there. Whether connections are left behind is tested without TLS.
    monkeypatch.setenv("PYTHONWARNINGS", "default,ignore:unclosed resource <TCPTransport:ResourceWarning")
    source = tmp_path / "bank.db"
    make_bank(source, 1_000, random.Random(1))
    with (
        KafkaBroker(
            tmp_path / "broker",
            protocol="SASL_SSL",
            properties={f"listener.name.client.{name}": value for name, value in listener.items()}
            | {"sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512"},
            format_arguments=["--add-scram", f"SCRAM-SHA-512=[name=cdc,password={_WORD}]"],
        ) as broker,
        Deployment(tmp_path, source, broker.bootstrap, topic, config=config) as deployment,
        Watcher(deployment, KAFKA_NODES) as watcher,
    ):
        config.write_text(
            f'[kafka]\nbootstrap_servers = "{broker.bootstrap}"\ntopic = "{topic}"\n'
            '"security.protocol" = "SASL_SSL"\n"sasl.mechanism" = "SCRAM-SHA-512"\n'
            '"sasl.username" = "cdc"\n"sasl.password" = "env:BROKER_WORD"\n'
            f'"ssl.truststore.type" = "PEM"\n"ssl.truststore.location" = "{server.certificate}"\n'
            f'"ssl.keystore.type" = "PEM"\n"ssl.keystore.location" = "{client.both}"\n'
        )
        deployment.start_after_snapshot("poller", *KAFKA_NODES)
        with Writers(source, 2) as writers:
            writers.wait_for(_TRANSACTIONS)
            for part in ("poller", KAFKA_NODES[0]):
                deployment.parts.pop(part).kill()
                writers.wait_for(_TRANSACTIONS)
                deployment.start(part)
            broker.kill()
            writers.wait_for(_TRANSACTIONS)
            broker.restart()
            writers.wait_for(_TRANSACTIONS)
            writers.stop()
        deployment.wait_until_level(KAFKA_NODES)
        assert watcher.saw(KAFKA_NODES)
        deployment.stop()
        deployment.assert_equal(KAFKA_NODES)
        cdc(*deployment.arguments("late"), "--once")
        deployment.assert_equal(["late"])
        monkeypatch.setenv("BROKER_WORD", "another word")
        refused = cdc(*deployment.arguments("late"), "--once", code=USAGE)
        assert "another word" not in refused.stderr
