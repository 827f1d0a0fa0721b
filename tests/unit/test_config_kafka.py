"""The [kafka] section: our keys, and Java's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cdc.config_file import load
from schemas.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from cdc.config import KafkaConfig

HEAD = '[kafka]\nbootstrap_servers = "localhost:9092"\ntopic = "cdc.app"\n'


def kafka(tmp_path: Path, text: str) -> KafkaConfig:
    path = tmp_path / "cdc.toml"
    path.write_text(text)
    return load(path).need_kafka()


def test_other_keys_are_java_properties_as_text(tmp_path: Path):
    config = kafka(
        tmp_path,
        HEAD
        + '"security.protocol" = "SSL"\nacks = "all"\n"linger.ms" = 5\n"check.crcs" = false\n"a.b" = 0.5',
    )
    assert config.reveal_properties() == {
        "security.protocol": "SSL",
        "acks": "all",
        "linger.ms": "5",
        "check.crcs": "false",
        "a.b": "0.5",
    }


def test_a_dotted_name_may_stand_without_quotes(tmp_path: Path):
    config = kafka(tmp_path, HEAD + 'security.protocol = "SSL"\nssl.truststore.location = "ca.pem"')
    assert config.properties == {"security.protocol": "SSL", "ssl.truststore.location": "ca.pem"}


def test_a_secret_is_read_from_where_it_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "jaas").write_text('org.x required password="b";\n')
    config = kafka(
        tmp_path,
        f'{HEAD}"sasl.password" = "env:KAFKA_PW"\n"sasl.username" = "env:KAFKA_USER"\n'
        f'"sasl.jaas.config" = "file:{tmp_path}/jaas"',
    )
    monkeypatch.setenv("KAFKA_PW", "pw")
    monkeypatch.setenv("KAFKA_USER", "me")
    assert config.reveal_properties() == {
        "sasl.password": "pw",
        "sasl.username": "me",
        "sasl.jaas.config": 'org.x required password="b";',
    }


@pytest.mark.parametrize(
    "name",
    [
        "sasl.password",
        "sasl.jaas.config",
        "ssl.key.password",
        "ssl.keystore.key",
        "ssl.truststore.password",
        "sasl.oauthbearer.client.credentials.client.secret",
        "basic.auth.user.info",
    ],
)
@pytest.mark.parametrize("value", ['"hunter2"', "42"])
def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path, name: str, value: str):
    with pytest.raises(UsageError) as caught:
        kafka(tmp_path, f'{HEAD}"{name}" = {value}')
    line = str(caught.value)
    assert f'kafka."{name}"' in line
    assert '"env:NAME" or "file:PATH"' in line
    assert "hunter2" not in line
    assert "42" not in line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("kafka = 1", "kafka is not allowed as it stands; allowed: a section"),
        ('[kafka]\ntopic = "a"', "kafka.bootstrap_servers is missing; give it, or --bootstrap-servers LIST"),
        ('[kafka]\nbootstrap_servers = "h:1"', "kafka.topic is missing; give it, or --topic NAME"),
        ('[kafka]\nbootstrap_servers = "h"', 'allowed: "HOST:PORT" with a port of 1 to 65535, or several'),
        ('[kafka]\nbootstrap_servers = ["h:1"]', "kafka.bootstrap_servers is not allowed as it stands"),
        ('[kafka]\ntopic = "a b"', "kafka.topic is not allowed as it stands"),
        ('[kafka]\ntopic = ".."', "kafka.topic is not allowed as it stands"),
        (HEAD + 'encoding = "avro"', 'kafka.encoding is not allowed as it stands; allowed: "msgpack" or'),
        (HEAD + "topics = 1", 'kafka.topics is not a configuration key; did you mean "topic"?'),
        (HEAD + '"a.b" = ["x"]', 'kafka."a.b" is not allowed as it stands; allowed: a string, a number'),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(tmp_path: Path, text: str, line: str):
    with pytest.raises(UsageError) as caught:
        kafka(tmp_path, text)
    assert line in str(caught.value)


@pytest.mark.parametrize(
    "servers",
    [
        "user:SECRET@h:1",
        "h:1,user:SECRET@h:2",
        "SASL://SECRET:1",
        "h/SECRET:1",
        "SECRET:0",
        "SECRET:65536",
        "h:1,",
        "::1:9",
    ],
)
def test_servers_that_hold_more_than_hosts_and_ports_are_refused_without_an_echo(
    tmp_path: Path, servers: str
):
    with pytest.raises(UsageError) as caught:
        kafka(tmp_path, f'[kafka]\nbootstrap_servers = "{servers}"\ntopic = "t"')
    assert "kafka.bootstrap_servers is not allowed" in str(caught.value)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("servers", ["h_1.example:65535", "[::1]:9092", "[fe80::1%eth0]:1,127.0.0.1:2"])
def test_servers_are_hosts_and_ports(tmp_path: Path, servers: str):
    assert (
        kafka(tmp_path, f'[kafka]\nbootstrap_servers = "{servers}"\ntopic = "t"').bootstrap_servers == servers
    )


@pytest.mark.parametrize("topic", ["__consumer_offsets", "__x", "a.snapshots", "a.quarantine", ".snapshots"])
def test_topics_of_kafka_itself_and_of_our_own_are_refused(tmp_path: Path, topic: str):
    with pytest.raises(UsageError, match=r"kafka\.topic is not allowed"):
        kafka(tmp_path, f'[kafka]\nbootstrap_servers = "h:1"\ntopic = "{topic}"')


@pytest.mark.parametrize("topic", ["_x", "snapshots", "a.snapshots.b", "a-quarantine"])
def test_other_topics_are_allowed(tmp_path: Path, topic: str):
    assert kafka(tmp_path, f'[kafka]\nbootstrap_servers = "h:1"\ntopic = "{topic}"').topic == topic


@pytest.mark.parametrize("encoding", ["msgpack", "json"])
def test_the_encoding_of_events_is_chosen(tmp_path: Path, encoding: str):
    assert kafka(tmp_path, HEAD).encoding == "msgpack"
    assert kafka(tmp_path, HEAD + f'encoding = "{encoding}"').encoding == encoding
