"""Credentials and TLS among the Kafka client properties: security.protocol, sasl.* and ssl.*."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from schemas.errors import UsageError

if TYPE_CHECKING:
    from schemas.kafka_values import Reader

SASL_NAMES = frozenset({"sasl.mechanism", "sasl.jaas.config", "sasl.username", "sasl.password"})

TLS_NAMES = frozenset(
    {
        "ssl.truststore.type",
        "ssl.truststore.location",
        "ssl.truststore.certificates",
        "ssl.keystore.type",
        "ssl.keystore.location",
        "ssl.key.password",
        "ssl.endpoint.identification.algorithm",
        # librdkafka's names
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.key.location",
    }
)

_PROTOCOLS = {name: name for name in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")}
_PLAIN = "PLAIN"
_MECHANISMS = {name: name for name in (_PLAIN, "SCRAM-SHA-256", "SCRAM-SHA-512")}
# aiokafka reads PEM alone; Java's own stores (JKS, PKCS12) would need a Java library.
_STORE_TYPES = {"PEM": "PEM"}
_CHECKS_OF_HOST = {"https": True, "": False}

_CONVERT = "give a PEM file (openssl and keytool convert other forms)"

_JAAS = re.compile(
    r"\s*(?P<module>[\w.$]+)\s+\w+(?P<options>(?:\s+[\w.]+\s*=\s*(?:\"(?:[^\"\\]|\\.)*\"|[^\s\";]+))*)\s*;?\s*"
)
_JAAS_OPTION = re.compile(r"([\w.]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s\";]+))")


class Tls(Struct, frozen=True):
    """Where the PEM files of a TLS connection are, under the names they were given by."""

    ca: tuple[str, str] | None
    certificate: tuple[str, str] | None
    key: tuple[str, str] | None
    ca_text: str | None
    key_password: str | None
    check_host: bool

    def __repr__(self) -> str:
        return "Tls(...)"


def read_sasl(values: Reader) -> dict[str, Any]:
    """The protocol and, where it asks for them, mechanism and credentials, as aiokafka's arguments."""
    protocol = values.choice("security.protocol", _PROTOCOLS, "PLAINTEXT")
    if not protocol.startswith("SASL_"):
        _refuse_without_protocol(values, SASL_NAMES, protocol, "SASL_SSL")
        return {"security_protocol": protocol}
    mechanism = values.choice("sasl.mechanism", _MECHANISMS, None)
    if mechanism is None:
        raise UsageError(
            f"kafka.sasl.mechanism: missing, and {protocol} needs it", f"give one of {', '.join(_MECHANISMS)}"
        )
    username, password = _credentials(values, mechanism)
    return {
        "security_protocol": protocol,
        "sasl_mechanism": mechanism,
        "sasl_plain_username": username,
        "sasl_plain_password": password,
    }


def read_tls(values: Reader) -> Tls | None:
    """The TLS files and settings; None where the protocol is not a TLS one. Reads no file."""
    protocol = values.choice("security.protocol", _PROTOCOLS, "PLAINTEXT")
    if not protocol.endswith("SSL"):
        _refuse_without_protocol(values, TLS_NAMES, protocol, "SSL")
        return None
    for name in ("ssl.truststore.type", "ssl.keystore.type"):
        values.choice(name, _STORE_TYPES, "PEM")
    tls = Tls(
        ca=values.first_given("ssl.truststore.location", "ssl.ca.location"),
        certificate=values.first_given("ssl.keystore.location", "ssl.certificate.location"),
        key=values.first_given("ssl.key.location"),
        ca_text=values.get("ssl.truststore.certificates", "ssl.ca.pem"),
        key_password=values.get("ssl.key.password"),
        check_host=values.choice("ssl.endpoint.identification.algorithm", _CHECKS_OF_HOST, default=True),
    )
    if tls.certificate is None and tls.key is not None:
        raise UsageError(
            "kafka.ssl.key.location: a key without its certificate", "give kafka.ssl.certificate.location"
        )
    return tls


def ssl_context(tls: Tls) -> ssl.SSLContext:
    """Read the PEM files. With no authority given, the system's are trusted.

    Raises:
        UsageError: a file is missing or cannot be read, is not PEM, or its key does not open.

    """
    files = [given for given in (tls.ca, tls.certificate, tls.key) if given is not None]
    for name, path in files:
        _check_readable(name, path)
    ca_name, ca_path = tls.ca or ("ssl.truststore.certificates", None)
    try:
        context = ssl.create_default_context(cafile=ca_path, cadata=tls.ca_text)
    except (OSError, ValueError):
        raise UsageError(f"kafka.{ca_name}: holds no certificates in PEM form", _CONVERT) from None
    context.check_hostname = tls.check_host
    if tls.certificate is not None:
        name, path = tls.certificate
        key_path = tls.key[1] if tls.key is not None else path
        # Given as a function: without one OpenSSL would ask for a password at the terminal.
        password = tls.key_password or ""
        try:
            context.load_cert_chain(path, key_path, password=lambda: password)
        except (OSError, ValueError):
            message = (
                f"kafka.{name}: no certificate and key in PEM form that open with kafka.ssl.key.password"
            )
            raise UsageError(message, _CONVERT) from None
    return context


def _check_readable(name: str, path: str) -> None:
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise UsageError(f"kafka.{name}: cannot read {path}: {error.strerror}", "correct the path") from None


def _refuse_without_protocol(values: Reader, names: frozenset[str], protocol: str, needed: str) -> None:
    given = values.names_among(names)
    if given:
        raise UsageError(
            f"kafka.{given[0]}: has no effect while security.protocol is {protocol}",
            f'set kafka.security.protocol to "{needed}", or leave it out',
        )


def _credentials(values: Reader, mechanism: str) -> tuple[str, str]:
    jaas = values.get("sasl.jaas.config")
    username, password = values.get("sasl.username"), values.get("sasl.password")
    if jaas is None:
        for name, value in (("sasl.username", username), ("sasl.password", password)):
            if value is None:
                raise UsageError(
                    f"kafka.{name}: missing, and sasl.mechanism needs it", "give it, or sasl.jaas.config"
                )
    elif username is not None or password is not None:
        raise UsageError(
            "kafka.sasl.jaas.config: given beside sasl.username or sasl.password", "leave one of them out"
        )
    else:
        username, password = _read_jaas(jaas, mechanism)
    return username or "", password or ""


def _read_jaas(config: str, mechanism: str) -> tuple[str, str]:
    module = "PlainLoginModule" if mechanism == _PLAIN else "ScramLoginModule"
    remedy = f'write: org.apache.kafka....{module} required username="..." password="...";'
    entry = _JAAS.fullmatch(config)
    if entry is None:
        raise UsageError("kafka.sasl.jaas.config: not one JAAS entry", remedy)
    if not entry["module"].endswith(f".{module}"):
        raise UsageError(f"kafka.sasl.jaas.config: its login module is not the one of {mechanism}", remedy)
    options = {
        name: re.sub(r"\\(.)", r"\1", quoted) if quoted else bare
        for name, quoted, bare in _JAAS_OPTION.findall(entry["options"])
    }
    if "username" not in options or "password" not in options:
        raise UsageError("kafka.sasl.jaas.config: holds no username and password", remedy)
    return options["username"], options["password"]
