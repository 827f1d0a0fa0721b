"""The Kafka client properties against a broker that asks for all of it: TLS both ways, and a password."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.kafka_properties import KafkaClients, kafka_clients
from tests.support.connections import connections_closed
from tests.support.kafka import KafkaBroker
from tests.support.pem import Pem, self_signed
from tests.support.topics import make_topics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.kafka

LIMIT_S = 30
LOGIN = 'org.apache.kafka.common.security.{module} required username="alice" password="{password}";'
PLAIN = LOGIN.format(module="plain.PlainLoginModule", password="plain-word")
SCRAM = LOGIN.format(module="scram.ScramLoginModule", password="scram-word")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Pem:
    return self_signed(tmp_path_factory.mktemp("server"), "server")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Pem:
    return self_signed(tmp_path_factory.mktemp("client"), "client")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, server: Pem, client: Pem) -> Iterator[KafkaBroker]:
    trusted = tmp_path_factory.mktemp("trusted") / "trusted.pem"
    # Its own certificate too: the broker tries its listener's settings by connecting to itself.
    trusted.write_text(client.certificate.read_text() + server.certificate.read_text())
    listener = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(server.both),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(trusted),
        "ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "plain.sasl.jaas.config": PLAIN.replace(";", ' user_alice="plain-word";'),
        "scram-sha-512.sasl.jaas.config": SCRAM,
    }
    with KafkaBroker(
        tmp_path_factory.mktemp("secured"),
        protocol="SASL_SSL",
        properties={f"listener.name.client.{name}": value for name, value in listener.items()}
        | {"sasl.mechanism.inter.broker.protocol": "PLAIN"},
        format_arguments=["--add-scram", "SCRAM-SHA-512=[name=alice,password=scram-word]"],
    ) as broker:
        yield broker


def clients_of(broker: KafkaBroker, server: Pem, client: Pem, changes: dict[str, str]) -> KafkaClients:
    properties = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.jaas.config": PLAIN,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(server.certificate),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(client.both),
        "request.timeout.ms": "5000",
    }
    return kafka_clients(broker.bootstrap, properties | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sasl.mechanism": "SCRAM-SHA-512", "sasl.jaas.config": SCRAM},
        {"compression.type": "zstd", "linger.ms": "5", "fetch.max.bytes": "1048576"},
    ],
)
async def test_all_three_clients_reach_a_secured_broker(
    broker: KafkaBroker, server: Pem, client: Pem, topic: str, changes: dict[str, str]
):
    clients = clients_of(broker, server, client, changes)
    async with asyncio.timeout(LIMIT_S):
        await make_topics(clients.admin(), topic)
        async with AIOKafkaProducer(**clients.producer()) as producer:
            await producer.send_and_wait(topic, b"word")
        async with AIOKafkaConsumer(**clients.consumer()) as consumer:
            partition = TopicPartition(topic, 0)
            consumer.assign([partition])
            await consumer.seek_to_beginning(partition)
            assert (await consumer.getone(partition)).value == b"word"


@pytest.mark.parametrize(
    "changes",
    [
        {"sasl.jaas.config": PLAIN.replace("plain-word", "guess")},
        {"sasl.mechanism": "SCRAM-SHA-256", "sasl.jaas.config": SCRAM},
        {"ssl.truststore.location": "stranger"},
        {"ssl.keystore.location": "stranger"},
    ],
    ids=["password", "mechanism", "authority", "certificate"],
)
async def test_a_wrong_part_keeps_a_client_out(
    broker: KafkaBroker, server: Pem, client: Pem, tmp_path: Path, changes: dict[str, str]
):
    stranger = str(self_signed(tmp_path, "stranger").both)
    changes = {name: value.replace("stranger", stranger) for name, value in changes.items()}
    producer = AIOKafkaProducer(**clients_of(broker, server, client, changes).producer())
    try:
        with pytest.raises(KafkaError):
            await asyncio.wait_for(producer.start(), LIMIT_S)
    finally:
        await producer.stop()
        await connections_closed()
