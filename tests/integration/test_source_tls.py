"""Sources behind TLS: whose certificate is trusted, and what is said where it is not."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from cdc.source import open_client
from tests.support.command import Ended, cdc_process
from tests.support.pem import Pem, self_signed, signed_by
from tests.support.sources import empty_source
from tests.support.tls import tls_in_front_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sqld import Sqld

every_scheme = pytest.mark.parametrize("scheme", ["https", "libsql", "wss"])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Pem:
    return self_signed(tmp_path_factory.mktemp("authority"), "authority")


async def _sync(folder: Path, scheme: str, sqld: Sqld, identity: Pem, trusted: Pem | None) -> Ended:
    """Sync from a server that shows ``identity``; ``trusted``: what SSL_CERT_FILE names."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CDC_", "SSL_"))}
    environment = kept | ({} if trusted is None else {"SSL_CERT_FILE": str(trusted.certificate)})
    async with tls_in_front_of(sqld.address, identity) as port:
        flags = ("--source", f"{scheme}://127.0.0.1:{port}", "--cache", "cache.redb")
        return await asyncio.to_thread(cdc_process, "sync", "--json", *flags, cwd=folder, env=environment)


def _assert_refused(ended: Ended, reason: str) -> None:
    assert ended.code == 2, ended.err
    (line,) = [line for line in ended.err.splitlines() if line.startswith("error:")]
    assert "certificate is not trusted" in line
    assert reason in line
    assert "SSL_CERT_FILE" in line
    assert "Traceback" not in ended.err


@every_scheme
async def test_a_server_is_trusted_by_an_authority_of_ones_own(
    scheme: str, sqld: Sqld, authority: Pem, tmp_path: Path
):
    identity = signed_by(authority, tmp_path, "server")
    async with empty_source("http", tmp_path, sqld) as source:
        client = await open_client(source.url)
        await client.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
        await client.execute("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
        await client.close()
        ended = await _sync(tmp_path, scheme, sqld, identity, authority)
    assert ended.code == 0, ended.err
    assert ended.json()["rows"] == 2


@every_scheme
async def test_an_unknown_authority_is_refused_in_one_line(
    scheme: str, sqld: Sqld, authority: Pem, tmp_path: Path
):
    identity = signed_by(authority, tmp_path, "server")
    _assert_refused(await _sync(tmp_path, scheme, sqld, identity, None), "issuer")


@every_scheme
async def test_a_certificate_of_another_host_is_refused(
    scheme: str, sqld: Sqld, authority: Pem, tmp_path: Path
):
    identity = signed_by(authority, tmp_path, "server", "DNS:elsewhere.example")
    _assert_refused(await _sync(tmp_path, scheme, sqld, identity, authority), "127.0.0.1")
