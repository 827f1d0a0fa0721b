"""Throw-away keys and certificates for TLS tests, made by the openssl command."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.parts import need_command

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Pem:
    """One identity; a self-signed one is also the authority to trust for it."""

    certificate: Path
    key: Path
    both: Path
    """Key and certificate in one file, as Kafka's PEM key stores have them."""


_HERE = "IP:127.0.0.1,DNS:localhost"


def self_signed(folder: Path, name: str) -> Pem:
    """Make an identity for 127.0.0.1 and localhost, valid for two days."""
    return _identity(folder, name, _HERE)


def signed_by(authority: Pem, folder: Path, name: str, host: str = _HERE) -> Pem:
    """Make an identity that an authority vouches for; ``host`` as in subjectAltName."""
    return _identity(folder, name, host, "-CA", str(authority.certificate), "-CAkey", str(authority.key))


def _identity(folder: Path, name: str, host: str, *signing: str) -> Pem:
    pem = Pem(folder / f"{name}-cert.pem", folder / f"{name}-key.pem", folder / f"{name}.pem")
    command = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name}"
    names = f"subjectAltName={host}"
    files = ("-keyout", str(pem.key), "-out", str(pem.certificate))
    _openssl(*command.split(), "-addext", names, *signing, *files)
    pem.both.write_text(pem.key.read_text() + pem.certificate.read_text())
    return pem


def locked(pem: Pem, password: str) -> Path:
    """The identity's key once more, encrypted with a password."""
    path = pem.key.with_name(f"locked-{pem.key.name}")
    _openssl("pkcs8", "-topk8", "-in", str(pem.key), "-out", str(path), "-passout", f"pass:{password}")
    return path


def _openssl(*arguments: str) -> None:
    subprocess.run(
        [need_command("openssl"), *arguments], check=True, capture_output=True, stdin=subprocess.DEVNULL
    )
