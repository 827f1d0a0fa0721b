"""Secrets are read where they are, and shown nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cdc.config_file import load
from cdc.secret import Secret, redact_url
from schemas.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_secret_is_read_from_the_environment_when_asked(monkeypatch: pytest.MonkeyPatch):
    secret = Secret("env:CDC_TEST_SECRET", "source.auth_token")
    monkeypatch.setenv("CDC_TEST_SECRET", "hunter2")
    assert secret.reveal() == "hunter2"


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_secret_is_read_from_a_file_without_its_line_ending(tmp_path: Path, ending: str):
    path = tmp_path / "token"
    path.write_bytes(f" hunter2 {ending}".encode())
    assert Secret(f"file:{path}", "source.auth_token").reveal() == " hunter2 "


def test_a_secret_shows_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CDC_TEST_SECRET", "hunter2")
    secret = Secret("env:CDC_TEST_SECRET", "source.auth_token")
    secret.reveal()
    assert f"{secret} {secret!r} {[secret]}" == "Secret(***) Secret(***) [Secret(***)]"
    assert secret == Secret("env:CDC_TEST_SECRET", "elsewhere")


@pytest.mark.parametrize(
    "text", ["hunter2", "", "env:", "env:a b", "env:hunter-2", "file:", "ENV:X", " env:X"]
)
def test_what_is_no_reference_is_refused_without_an_echo(tmp_path: Path, text: str):
    path = tmp_path / "cdc.toml"
    path.write_text(f'[source]\nurl = "a"\nauth_token = "{text}"')
    with pytest.raises(UsageError) as caught:
        load(path)
    assert str(caught.value) == (
        'source.auth_token: a secret may not be written down here; give it as "env:NAME" or "file:PATH"'
    )


def test_a_secret_that_is_not_there_is_said_with_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CDC_TEST_SECRET", raising=False)
    with pytest.raises(
        UsageError, match=r"source\.auth_token: the secret is missing; set .* CDC_TEST_SECRET"
    ):
        Secret("env:CDC_TEST_SECRET", "source.auth_token").reveal()
    with pytest.raises(UsageError, match=r"k: the secret's file .*none cannot be read: No such file"):
        Secret(f"file:{tmp_path}/none", "k").reveal()
    for name, data in {"empty": b"\n", "binary": b"\xff", "large": b"x" * (2**20 + 1)}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UsageError, match=r"k: "):
            Secret(f"file:{tmp_path}/{name}", "k").reveal()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("file:a@b?c=d", "file:a@b?c=d"),
        ("some/path@x", "some/path@x"),
        ("file://a@b", "file://a@b"),
        ("https://db.example.org/x", "https://db.example.org/x"),
        ("https://me:pw@db.example.org:80/x", "https://***@db.example.org:80/x"),
        ("https://token@db.example.org", "https://***@db.example.org"),
        ("libsql://db?authToken=abc.def&tls=0", "libsql://db?authToken=***&tls=0"),
        ("libsql://db?abc", "libsql://db?***"),
        ("libsql://db?", "libsql://db?"),
        ("https://me:p@s/s@db", "https://***@db"),
        ("https://me:p?ss@db", "https://***"),
        ("https://db?authToken=abc@def", "https://***"),
    ],
)
def test_credentials_of_a_url_are_hidden(url: str, shown: str):
    assert redact_url(url) == shown
