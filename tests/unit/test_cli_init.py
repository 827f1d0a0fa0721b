"""cdc init."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cdc.cli.init import TEMPLATE
from cdc.config import CacheConfig
from cdc.config_file import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.command import Ended

    Cdc = Callable[..., Ended]


def test_it_writes_a_file_that_can_be_read(cdc: Cdc):
    ended = cdc("init")
    assert (ended.code, ended.err) == (0, "")
    config = load(Path("cdc.toml"))
    assert config.need_source().url == "file:app.db"
    assert config.kafka is None
    assert config.cache.path == CacheConfig().path


def test_what_is_commented_out_is_allowed_and_shows_the_defaults(tmp_path: Path):
    commented_out = re.compile(r"""# (?=\[[a-z_.]+\]$|"?[a-z_.]+"? = )""")
    lines = [commented_out.sub("", line) for line in TEMPLATE.read_text().splitlines()]
    document = tomllib.loads("\n".join(lines))
    document["source"].pop("tables")
    path = tmp_path / "cdc.toml"
    path.write_text("\n".join(line for line in lines if not line.startswith("tables")))
    config, bare = load(path), load(None)
    assert config.need_source().poll_interval_s == 0.05
    assert config.cache == CacheConfig(bare.cache.path, "node-a", verify_every_s=21_600.0)
    assert set(document) == {"source", "kafka", "cache", "tables", "http"}


def test_it_refuses_to_overwrite(cdc: Cdc):
    Path("cdc.toml").write_text("# mine")
    ended = cdc("init")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: cdc.toml exists already; ")
    assert Path("cdc.toml").read_text() == "# mine"


def test_it_writes_where_the_configuration_is_said_to_be(cdc: Cdc):
    assert cdc("--config", "other.toml", "init", "--json").json() == {"path": "other.toml"}
    assert load(Path("other.toml")).source is not None
    assert cdc("init", "--config", "no/such/folder.toml").code == 2


def test_an_unknown_preset_is_refused(cdc: Cdc):
    ended = cdc("init", "--preset", "other")
    assert (ended.code, ended.err) == (2, "error: there is no such preset; allowed: memory\n")
    assert not Path("cdc.toml").exists()


def test_the_preset_of_the_memory_is_written_with_its_defaults(cdc: Cdc, tmp_path: Path):
    assert cdc("init", "--preset", "memory", "--topic", "cdc.memory").code == 0
    config = load(Path("cdc.toml"))
    bare = tmp_path / "bare.toml"
    bare.write_text('[source]\nurl = "file:app.db"\n[preset.memory]\n')
    assert (config.tables, config.need_source(), config.cache.commit_rows) == (
        load(bare).tables,
        load(bare).need_source(),
        100,
    )
    assert config.need_kafka().topic == "cdc.memory"


def test_it_fills_in_what_the_flags_say(cdc: Cdc):
    flags = {"--source": 'file:a "quoted" \\ name.db', "--cache": "c\x7f.redb", "--node": "é"}
    kafka = {"--bootstrap-servers": "a:1, b:2", "--topic": "cdc.other"}
    ended = cdc("init", *(word for flag in (flags | kafka).items() for word in flag))
    assert (ended.code, ended.err) == (0, "")
    config = load(Path("cdc.toml"))
    assert config.need_source().url == flags["--source"]
    assert (str(config.cache.path), config.cache.node) == (flags["--cache"], "é")
    assert (config.need_kafka().bootstrap_servers, config.need_kafka().topic) == ("a:1,b:2", "cdc.other")


def test_half_of_kafka_is_completed_with_the_example(cdc: Cdc):
    assert cdc("init", "--topic", "cdc.other").code == 0
    config = load(Path("cdc.toml"))
    assert (config.need_kafka().bootstrap_servers, config.need_kafka().topic) == (
        "localhost:9092",
        "cdc.other",
    )


@pytest.mark.parametrize(
    "flags",
    [
        ["--source", "libsql://user:SECRET@host"],
        ["--source", "libsql://host?authToken=SECRET"],
        ["--bootstrap-servers", "user:SECRET@h:1"],
        ["--topic", "a b SECRET"],
    ],
)
def test_it_writes_no_secret_and_nothing_that_is_not_allowed(cdc: Cdc, flags: list[str]):
    ended = cdc("init", *flags)
    assert (ended.code, ended.out) == (2, "")
    assert "SECRET" not in ended.err
    assert not Path("cdc.toml").exists()
