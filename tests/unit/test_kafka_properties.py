from __future__ import annotations

import inspect
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from schemas import kafka_properties
from schemas.errors import ExitCode, UsageError
from tests.support.pem import locked, self_signed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.kafka_properties import KafkaClients

SERVERS = "one:9092,two:9092"
PLAINTEXT = {"bootstrap_servers": SERVERS, "security_protocol": "PLAINTEXT"}
PASSWORD = 'pass"word\\with;marks'
JAAS = (
    "org.apache.kafka.common.security.{}LoginModule required "
    'username="alice" password="pass\\"word\\\\with;marks";'
)


def clients_of(properties: Mapping[str, object]) -> KafkaClients:
    return kafka_properties.kafka_clients(SERVERS, properties)


def refused(properties: Mapping[str, object]) -> str:
    with pytest.raises(UsageError) as caught:
        clients_of(properties).producer()
    assert caught.value.exit_code is ExitCode.USAGE
    return str(caught.value)


def test_no_properties_ask_for_a_plaintext_connection():
    clients = clients_of({})
    assert clients.producer() == clients.consumer() == clients.admin() == PLAINTEXT


def test_each_client_gets_the_properties_that_concern_it():
    clients = clients_of(
        {
            "client.id": "node-a",
            "request.timeout.ms": 15_000,
            "linger.ms": "5",
            "batch.size": 262_144,
            "compression.type": "zstd",
            "fetch.max.bytes": 67_108_864,
            "max.partition.fetch.bytes": "8388608",
            "check.crcs": "false",
        }
    )
    shared = PLAINTEXT | {"client_id": "node-a", "request_timeout_ms": 15_000}
    assert clients.admin() == shared
    assert clients.producer() == shared | {
        "linger_ms": 5,
        "max_batch_size": 262_144,
        "compression_type": "zstd",
    }
    assert clients.consumer() == shared | {
        "fetch_max_bytes": 67_108_864,
        "max_partition_fetch_bytes": 8_388_608,
        "check_crcs": False,
    }


def test_every_argument_exists_in_the_client_it_is_for():
    constructors = {"producer": AIOKafkaProducer, "consumer": AIOKafkaConsumer, "admin": AIOKafkaAdminClient}
    for name, known in kafka_properties._PROPERTIES.items():
        for client in known.clients:
            assert known.argument in inspect.signature(constructors[client]).parameters, name


def test_compression_none_means_no_compression():
    assert clients_of({"compression.type": "none"}).producer()["compression_type"] is None


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("linger.mss", "kafka.linger.ms"),
        ("linger_ms", "kafka.linger.ms"),
        ("sasl.mechanisms", "kafka.sasl.mechanism"),
        ("compression", "kafka.compression.type"),
        ("fetch.max.byte", "kafka.fetch.max.bytes"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_ones(name: str, suggestion: str):
    line = refused({name: "value-not-to-be-shown"})
    assert line.startswith(f"kafka.{name}: ")
    assert suggestion in line
    assert "value-not-to-be-shown" not in line


def test_a_name_like_no_other_is_refused_with_all_allowed_ones():
    assert "linger.ms, " in refused({"zzz": 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("linger.ms", -1),
        ("linger.ms", "soon"),
        ("linger.ms", True),
        ("linger.ms", 1.5),
        ("batch.size", 0),
        ("batch.size", 2**31),
        ("compression.type", "brotli"),
        ("check.crcs", 1),
        ("client.id", 7),
        ("security.protocol", "TLS"),
        ("security.protocol", None),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_by_name(name: str, value: object):
    assert refused({name: value}).startswith(f"kafka.{name}: must be ")


@pytest.mark.parametrize(
    ("name", "value"),
    [("acks", "all"), ("acks", -1), ("enable.idempotence", True), ("enable.auto.commit", "false")],
)
def test_what_the_program_decides_may_be_said_if_it_agrees(name: str, value: object):
    assert clients_of({name: value}) == clients_of({})


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("acks", "1", "in-sync"),
        ("enable.idempotence", False, "out of order"),
        ("bootstrap.servers", "localhost:9092", "kafka.bootstrap_servers"),
        ("group.id", "mine", "cache.node"),
        ("session.timeout.ms", 10_000, "member of a group"),
    ],
)
def test_what_the_program_decides_is_refused_with_the_reason(name: str, value: object, reason: str):
    line = refused({name: value})
    assert line.startswith(f"kafka.{name}: ")
    assert reason in line


@pytest.mark.parametrize(
    ("mechanism", "module"),
    [("PLAIN", "plain.Plain"), ("SCRAM-SHA-256", "scram.Scram"), ("SCRAM-SHA-512", "scram.Scram")],
)
def test_credentials_are_read_from_a_jaas_entry_or_from_two_names(mechanism: str, module: str):
    base = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": mechanism}
    from_jaas = clients_of(base | {"sasl.jaas.config": JAAS.format(module)})
    assert from_jaas == clients_of(base | {"sasl.username": "alice", "sasl.password": PASSWORD})
    for arguments in (from_jaas.producer(), from_jaas.consumer(), from_jaas.admin()):
        assert arguments == {
            "bootstrap_servers": SERVERS,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": mechanism,
            "sasl_plain_username": "alice",
            "sasl_plain_password": PASSWORD,
        }


SASL = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}


@pytest.mark.parametrize(
    ("properties", "key"),
    [
        (
            {"security.protocol": "SASL_PLAINTEXT", "sasl.username": "a", "sasl.password": PASSWORD},
            "sasl.mechanism",
        ),
        (SASL | {"sasl.password": PASSWORD}, "sasl.username"),
        (SASL | {"sasl.username": "a"}, "sasl.password"),
        (SASL | {"sasl.mechanism": "GSSAPI", "sasl.password": PASSWORD}, "sasl.mechanism"),
        (SASL | {"sasl.jaas.config": JAAS.format("scram.Scram")}, "sasl.jaas.config"),
        (
            SASL | {"sasl.jaas.config": JAAS.format("plain.Plain"), "sasl.password": PASSWORD},
            "sasl.jaas.config",
        ),
        (SASL | {"sasl.jaas.config": f"no entry {PASSWORD}"}, "sasl.jaas.config"),
        (
            SASL | {"sasl.jaas.config": f'x.PlainLoginModule required password="{PASSWORD}'},
            "sasl.jaas.config",
        ),
        (SASL | {"sasl.jaas.config": 'x.PlainLoginModule required password="p";'}, "sasl.jaas.config"),
        ({"sasl.password": PASSWORD}, "sasl.password"),
        ({"ssl.key.password": PASSWORD}, "ssl.key.password"),
        ({"security.protocol": "SSL", "sasl.password": PASSWORD}, "sasl.password"),
        ({"security.protocol": "SSL", "ssl.truststore.type": "JKS"}, "ssl.truststore.type"),
        (
            {"security.protocol": "SSL", "ssl.ca.location": "a", "ssl.truststore.location": "b"},
            "ssl.ca.location",
        ),
        ({"security.protocol": "SSL", "ssl.key.location": "a"}, "ssl.key.location"),
        ({"security.protocol": "SSL", "ssl.ca.location": "absent.pem"}, "ssl.ca.location"),
        ({"security.protocol": "SSL", "ssl.ca.location": "."}, "ssl.ca.location"),
        (
            {"security.protocol": "SSL", "ssl.truststore.certificates": "no PEM"},
            "ssl.truststore.certificates",
        ),
        ({"security.protocol": "SSL", "ssl.keystore.location": "absent.pem"}, "ssl.keystore.location"),
    ],
)
def test_contradictions_and_gaps_are_refused_by_name_without_showing_secrets(
    properties: dict[str, object], key: str
):
    line = refused(properties)
    assert line.startswith(f"kafka.{key}: ")
    assert "pass" not in line.replace("password", "")
    assert "marks" not in line


def test_no_repr_shows_a_secret():
    clients = clients_of(
        {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "alice",
            "sasl.password": "hidden-1",
            "ssl.key.password": "hidden-2",
        }
    )
    assert "hidden" not in f"{clients!r} {clients} {clients.tls!r}"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    pem = self_signed(tmp_path_factory.mktemp("pem"), "alice")
    paths = {"cert": pem.certificate, "key": pem.key, "both": pem.both, "locked": locked(pem, "open-sesame")}
    return {name: str(path) for name, path in paths.items()}


def test_tls_without_an_authority_trusts_the_systems_and_checks_the_host():
    context = clients_of({"security.protocol": "SSL"}).admin()["ssl_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_tls_trusts_only_the_authority_given(files: dict[str, str]):
    for properties in (
        {"ssl.truststore.type": "PEM", "ssl.truststore.location": files["cert"]},
        {"ssl.ca.location": files["cert"]},
        {"ssl.truststore.certificates": Path(files["cert"]).read_text()},
    ):
        context = clients_of({"security.protocol": "SSL"} | properties).consumer()["ssl_context"]
        assert [dict(*ca["subject"])["commonName"] for ca in context.get_ca_certs()] == ["alice"]


def test_the_host_check_can_be_switched_off_as_in_java():
    properties = {"security.protocol": "SSL", "ssl.endpoint.identification.algorithm": ""}
    assert not clients_of(properties).admin()["ssl_context"].check_hostname


@pytest.mark.parametrize(
    "given",
    [
        {"ssl.keystore.location": "both"},
        {"ssl.certificate.location": "cert", "ssl.key.location": "key"},
        {"ssl.certificate.location": "cert", "ssl.key.location": "locked", "ssl.key.password": "open-sesame"},
    ],
)
def test_a_client_certificate_is_read_with_its_key(files: dict[str, str], given: dict[str, str]):
    properties = {name: files.get(value, value) for name, value in given.items()}
    assert clients_of({"security.protocol": "SSL"} | properties).producer()["ssl_context"]


@pytest.mark.parametrize("password", [{}, {"ssl.key.password": "wrong"}])
def test_a_locked_key_is_refused_and_nobody_is_asked_at_the_terminal(
    files: dict[str, str], password: dict[str, str]
):
    given = {"ssl.certificate.location": files["cert"], "ssl.key.location": files["locked"]}
    line = refused({"security.protocol": "SSL"} | given | password)
    assert line.startswith("kafka.ssl.certificate.location: ")
    assert "wrong" not in line
