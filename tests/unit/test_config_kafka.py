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
        ('[kafka]\nbootstrap_servers = "h"', 'allowed: "HOST:PORT", or several'),
        ('[kafka]\nbootstrap_servers = ["h:1"]', "kafka.bootstrap_servers is not allowed as it stands"),
        ('[kafka]\ntopic = "a b"', "kafka.topic is not allowed as it stands"),
        ('[kafka]\ntopic = ".."', "kafka.topic is not allowed as it stands"),
        (HEAD + 'encoding = "avro"', 'kafka.encoding is not allowed as it stands; allowed: "msgpack"'),
        (HEAD + "topics = 1", 'kafka.topics is not a configuration key; did you mean "topic"?'),
        (HEAD + '"a.b" = ["x"]', 'kafka."a.b" is not allowed as it stands; allowed: a string, a number'),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(tmp_path: Path, text: str, line: str):
    with pytest.raises(UsageError) as caught:
        kafka(tmp_path, text)
    assert line in str(caught.value)
