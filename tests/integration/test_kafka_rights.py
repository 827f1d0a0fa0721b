"""What Kafka's access control keeps us from is one line that names the right and the resource."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from schemas.kafka_admin import UNKNOWN_TOPIC, Admin
from schemas.kafka_clients import start_client
from schemas.kafka_rights import Right
from tests.support.bank import make_bank
from tests.support.commands import DONE, FAILED, USAGE, cdc
from tests.support.kafka import KafkaBroker
from tests.support.topics import make_topics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.support.commands import Finished

pytestmark = pytest.mark.kafka

_LOGIN = (
    'org.apache.kafka.common.security.scram.ScramLoginModule required username="{0}" password="{0}-word";'
)
_LIMIT_S = 30
_ADMIN, _USER = "admin", "cdc"
_TOPIC, _LITERAL, _ALLOW = 2, 3, 3
"""Codes of Kafka's protocol: a resource's type, a pattern's, a permission's."""

ALL = {Right.DESCRIBE, Right.READ, Right.WRITE}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker that lets nobody but its administrator do anything that was not granted."""
    scram = "SCRAM-SHA-512"
    with KafkaBroker(
        tmp_path_factory.mktemp("guarded"),
        protocol="SASL_PLAINTEXT",
        properties={
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # The controller's listener asks for no password.
            "super.users": f"User:{_ADMIN};User:ANONYMOUS",
            "sasl.enabled.mechanisms": scram,
            "sasl.mechanism.inter.broker.protocol": scram,
            "listener.name.client.scram-sha-512.sasl.jaas.config": _LOGIN.format(_ADMIN),
        },
        format_arguments=[
            argument
            for name in (_ADMIN, _USER)
            for argument in ("--add-scram", f"{scram}=[name={name},password={name}-word]")
        ],
    ) as guarded:
        yield guarded


class Guarded:
    """A database and a configuration for one test's topic at the guarded broker."""

    def __init__(
        self, broker: KafkaBroker, folder: Path, topic: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.topic = topic
        self.source = folder / "bank.db"
        self._broker = broker
        self._config = folder / "cdc.toml"
        self._cache = folder / "cache.redb"
        monkeypatch.setenv("BROKER_WORD", f"{_USER}-word")
        make_bank(self.source, 40, random.Random(1))
        self.log_in(_USER)

    def log_in(self, user: str) -> None:
        """Whom the configuration names; the password stays that of the user."""
        self._config.write_text(
            f'[kafka]\nbootstrap_servers = "{self._broker.bootstrap}"\ntopic = "{self.topic}"\n'
            '"security.protocol" = "SASL_PLAINTEXT"\n"sasl.mechanism" = "SCRAM-SHA-512"\n'
            f'"sasl.username" = "{user}"\n"sasl.password" = "env:BROKER_WORD"\n'
        )

    def prepare(self, rights: dict[str, Iterable[Right]], *, make: bool = True) -> None:
        """Make the topics and grant rights, by the topic's suffix."""
        asyncio.run(self._prepare(rights, make=make))

    def run(self, *arguments: str, code: int) -> Finished:
        """Run a command to its end."""
        where = ["--config", self._config, "--timeout", "20s"]
        if arguments[0] in ("poll", "snapshot"):
            where += ["--source", self.source]
        if arguments[0] == "consume":
            where += ["--cache", self._cache, "--node", f"{self.topic}.node"]
        return cdc(*arguments, *where, code=code)

    async def _prepare(self, rights: dict[str, Iterable[Right]], *, make: bool) -> None:
        if make:
            names = [self.topic, f"{self.topic}.snapshots", f"{self.topic}.quarantine"]
            await make_topics(self._client_of(_ADMIN), *names)
        admin = AIOKafkaAdminClient(**self._client_of(_ADMIN))
        await start_client(admin)
        try:
            for suffix, granted in rights.items():
                for right in granted:
                    name = f"{self.topic}{suffix}"
                    request = CreateAclsRequest(
                        _TOPIC, name, _LITERAL, f"User:{_USER}", "*", int(right), _ALLOW
                    )
                    response = await admin._send_request(request)
                    assert [code for code, _ in response.creation_responses] == [0], response
            await self._wait_for(
                {f"{self.topic}{suffix}": set(granted) for suffix, granted in rights.items()}
            )
        finally:
            await admin.close()

    async def _wait_for(self, wanted: dict[str, set[Right]]) -> None:
        """Return when the broker has heard of what the controller has stored."""
        async with asyncio.timeout(_LIMIT_S), Admin(self._client_of(_USER)) as admin:
            for name, rights in wanted.items():
                while True:
                    facts = (await admin.describe([name])).topics[name]
                    if rights <= (facts.rights or set()) or facts.error == UNKNOWN_TOPIC:
                        break
                    await asyncio.sleep(0.02)

    def _client_of(self, user: str) -> dict[str, Any]:
        return {
            "bootstrap_servers": self._broker.bootstrap,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": user,
            "sasl_plain_password": f"{user}-word",
        }


@pytest.fixture
def guarded(broker: KafkaBroker, tmp_path: Path, topic: str, monkeypatch: pytest.MonkeyPatch) -> Guarded:
    return Guarded(broker, tmp_path, topic, monkeypatch)


@pytest.mark.parametrize(
    ("events", "command", "missing"),
    [
        (set(), ("poll", "--once"), "Describe"),
        (ALL - {Right.WRITE}, ("poll", "--once"), "Write"),
        (ALL - {Right.WRITE}, ("poll",), "Write"),
        (ALL - {Right.WRITE}, ("snapshot",), "Write"),
        (ALL - {Right.READ}, ("poll", "--once"), "Read"),
        (set(), ("consume", "--once"), "Describe"),
        # Write implies Describe.
        ({Right.WRITE}, ("consume", "--once"), "Read"),
        ({Right.WRITE}, ("consume",), "Read"),
        ({Right.DESCRIBE}, ("tail", "--no-follow", "--from-beginning"), "Read"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else None,
)
def test_a_missing_right_on_the_events_topic_is_named(
    guarded: Guarded, events: set[Right], command: tuple[str, ...], missing: str
):
    guarded.prepare({"": events, ".snapshots": ALL})
    error = guarded.run(*command, code=FAILED).error
    assert f"let us {missing} topic {guarded.topic};" in error


def test_a_node_that_may_not_read_the_snapshots_says_so(guarded: Guarded):
    guarded.prepare({"": ALL, ".snapshots": {Right.WRITE}})
    error = guarded.run("consume", "--once", code=FAILED).error
    assert f"let us Read topic {guarded.topic}.snapshots;" in error


def test_a_poller_that_may_not_create_topics_says_so(guarded: Guarded):
    guarded.prepare({"": ALL, ".snapshots": ALL, ".quarantine": ALL}, make=False)
    error = guarded.run("poll", "--once", code=FAILED).error
    assert f"let us Create topic {guarded.topic}" in error


@pytest.mark.parametrize("command", [("poll", "--once"), ("poll",), ("consume",), ("tail",)], ids="-".join)
def test_refused_credentials_are_bad_configuration(guarded: Guarded, command: tuple[str, ...]):
    guarded.log_in("stranger")
    finished = guarded.run(*command, code=USAGE)
    assert "refuses the credentials" in finished.error
    assert "word" not in finished.error.replace("sasl.password", "")


def test_a_node_without_rights_on_its_group_works_and_warns(guarded: Guarded):
    guarded.prepare({"": ALL, ".snapshots": ALL, ".quarantine": ALL})
    guarded.run("poll", "--once", code=DONE)
    finished = guarded.run("consume", "--once", code=DONE)
    assert finished.stderr.count(f"Read group {guarded.topic}.node") == 1
