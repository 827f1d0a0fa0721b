"""What cdc.toml and the flags over it lead to."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import pytest

from cdc.config import CacheConfig, Config, SourceConfig
from cdc.config_file import Overrides, load
from cdc.table_settings import TableSettings
from schemas.definition import Follow
from schemas.errors import UsageError

FOLLOW = "follow = { table = 'b', column = 'y' }"

EVERYTHING = """
[source]
url = "file:app.db"
auth_token = "env:TURSO_AUTH_TOKEN"
tables = ["episodes", "patterns"]
poll_interval = "20ms"
log_retention = "48h"

[kafka]
bootstrap_servers = "one:9092, two:9092"
topic = "cdc.app"
encoding = "msgpack"

[cache]
path = "other.redb"
node = "node-a"
max_staleness = "5s"
readers = "process"
check = "never"

[tables.episodes]
key_type = "tuple"
key_columns = ["id", "part"]
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CDC_CONFIG", raising=False)


def configured(text: str, overrides: Overrides | None = None) -> Config:
    Path("cdc.toml").write_text(text)
    return load(None, overrides or Overrides())


def refused(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        configured(text)
    return str(caught.value)


def test_every_key_of_this_version_is_read():
    config = configured(EVERYTHING)
    source = config.need_source()
    assert (source.url, source.tables) == ("file:app.db", ("episodes", "patterns"))
    assert (source.poll_interval_s, source.log_retention_s) == (0.02, 172_800.0)
    assert source.auth_token is not None
    kafka = config.need_kafka()
    assert (kafka.bootstrap_servers, kafka.topic) == ("one:9092,two:9092", "cdc.app")
    assert config.cache == CacheConfig(Path("other.redb"), "node-a", 5.0, "process", "never")
    assert config.tables["episodes"].key_columns == ("id", "part")
    assert config.file == Path("cdc.toml")


def test_defaults_are_those_of_the_contract():
    assert SourceConfig("file:app.db") == SourceConfig("file:app.db", None, None, 0.05, 86_400.0)
    cache = msgspec.structs.replace(load().cache, node="")
    assert cache == CacheConfig(Path("cache.redb"), "", 30.0, "shared", "open")


def test_without_file_and_flags_there_is_a_cache_and_nothing_else():
    config = load()
    assert (config.source, config.kafka, config.tables, config.file) == (None, None, {}, None)
    with pytest.raises(UsageError, match="--source URL"):
        config.need_source()
    with pytest.raises(UsageError, match="--bootstrap-servers"):
        config.need_kafka()


def test_flags_are_enough_without_a_file():
    config = load(None, Overrides("app.db", "c.redb", "n", "localhost:9092", "t"))
    assert config.need_source() == SourceConfig("app.db")
    assert (config.cache.path, config.cache.node) == (Path("c.redb"), "n")
    assert (config.need_kafka().bootstrap_servers, config.need_kafka().topic) == ("localhost:9092", "t")


def test_flags_go_before_the_file():
    config = configured(EVERYTHING, Overrides(source="new.db", topic="cdc.new"))
    assert config.need_source().url == "new.db"
    assert config.need_source().poll_interval_s == 0.02
    assert config.need_kafka().topic == "cdc.new"
    assert config.cache.node == "node-a"


def test_flags_are_checked_like_the_file():
    with pytest.raises(UsageError, match=r"source\.url"):
        load(None, Overrides(source=""))
    with pytest.raises(UsageError, match=r"kafka\.topic is missing; give it, or --topic"):
        load(None, Overrides(bootstrap_servers="localhost:9092"))


def test_the_file_is_found_from_argument_then_environment_then_folder(monkeypatch: pytest.MonkeyPatch):
    for name in ("cdc", "environment", "argument"):
        Path(f"{name}.toml").write_text(f'[cache]\nnode = "{name}"')
    assert load().cache.node == "cdc"
    monkeypatch.setenv("CDC_CONFIG", "environment.toml")
    assert load().cache.node == "environment"
    assert load(Path("argument.toml")).cache.node == "argument"
    monkeypatch.setenv("CDC_CONFIG", "")
    assert load().cache.node == "cdc"


def test_a_file_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with pytest.raises(UsageError, match=r"no\.toml cannot be read: No such file"):
        load(Path("no.toml"))
    with pytest.raises(UsageError, match="Is a directory"):
        load(tmp_path)
    monkeypatch.setenv("CDC_CONFIG", "gone.toml")
    with pytest.raises(UsageError, match=r"gone\.toml"):
        load()


@pytest.mark.parametrize(
    "data", [b"[source", b"\xff", b"a = 1\na = 2", b"# " + b"x" * 2**20, b"a = " + b"[" * 9000]
)
def test_a_file_that_is_not_toml_is_refused(data: bytes):
    Path("cdc.toml").write_bytes(data)
    with pytest.raises(UsageError, match=r"cdc\.toml is"):
        load()


def test_the_node_is_named_after_host_and_cache_path_by_default():
    first = load(None, Overrides(cache="a.redb")).cache.node
    assert first.startswith(f"{socket.gethostname()}-")
    assert first == load(None, Overrides(cache=str(Path.cwd() / "a.redb"))).cache.node
    assert first != load(None, Overrides(cache="b.redb")).cache.node


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[sources]", 'sources is not a configuration key; did you mean "source"? allowed: source, kafka'),
        (
            '[source]\nurl = "a"\npol_interval = "1s"',
            "source.pol_interval is not a configuration key; did you",
        ),
        ('[source]\nurl = "a"\nhostname = 1', "allowed: url, auth_token"),
        ("[cache]\nsize = 1", "cache.size is not a configuration key; allowed: path, node"),
        ("[tables.a.b]\nx = 1", "tables.a.b is not a configuration key; allowed: keep"),
        ('[tables."a b"]\nx = 1', 'tables."a b".x is not a configuration key'),
        ("[preset.mem]", 'preset.mem is not a configuration key; did you mean "memory"?'),
        ("[http]\nport = 1", "http.port is not a configuration key; allowed: listen, auth_token"),
        ('[cache]\n"a\\nb" = 1', "is not a configuration key"),
    ],
)
def test_an_unknown_key_is_refused_with_its_path_and_the_known_ones(text: str, line: str):
    assert line in refused(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("source = 1", "source is not allowed as it stands; allowed: a section with the keys url"),
        ("[source]\nurl = 1", "source.url is not allowed as it stands; allowed: a string"),
        (
            '[source]\nurl = "file:"',
            'source.url is not allowed as it stands; allowed: "file:PATH" or a bare path',
        ),
        ('[source]\nurl = "postgres://me:pw@h"', "libsql, https, http, wss, ws, turso"),
        ("[source]", "source.url is missing; give it, or --source URL"),
        ('[source]\nurl = "a"\ntables = "b"', "source.tables is not allowed as it stands; allowed: a list"),
        ('[source]\nurl = "a"\ntables = []', "a list of one or more names"),
        ('[source]\nurl = "a"\ntables = ["b", 1]', "a list of one or more names"),
        (
            '[cache]\nnode = " "',
            "cache.node is not allowed as it stands; allowed: a name of 1 to 200 printable",
        ),
        ('[cache]\nnode = "a\\u0007"', "cache.node is not allowed as it stands; allowed: a name of 1 to 200"),
        ('[source]\nurl = "a"\ntables = ["b", "b"]', "source.tables: a name is given twice"),
        (
            '[source]\nurl = "a"\npoll_interval = 1',
            "source.poll_interval is not allowed as it stands; allowed: a",
        ),
        ('[source]\nurl = "a"\npoll_interval = "0s"', "longer than nothing"),
        ('[source]\nurl = "a"\nlog_retention = "1 day"', "units: ms, s, m, h, d"),
        (
            "[cache]\nreaders = true",
            'cache.readers is not allowed as it stands; allowed: "shared" or "process"',
        ),
        ('[cache]\ncheck = "always"', 'allowed: "open" or "unclean" or "never"'),
        ('[cache]\npath = ""', "cache.path"),
        ('[cache]\nnode = "a\\nb"', "cache.node"),
        ("tables = 1", "tables is not allowed as it stands"),
        ("[tables]\na = 1", "tables.a is not allowed as it stands"),
        ("[tables.a]\nkey_columns = []", "tables.a.key_columns"),
        (
            '[tables.a]\nkey_type = "blob"',
            'tables.a.key_type is not allowed as it stands; allowed: "tuple" or "text"',
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_path_and_what_is_allowed(text: str, line: str):
    assert line in refused(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[source]\nurl = "file:a"\n[cache]\npath = "./a"', "source.url and cache.path name the same file"),
        (
            '[source]\nurl = "a"\ntables = ["b"]\n[tables.c]\nkey_columns = ["x"]',
            "tables.c is about a table that source.tables leaves out",
        ),
        ("[tables.a]\nkeep = 1", "tables.a.keep needs tables.a.keep_by"),
        ("[tables.a]\nkeep_by = 'x'", "tables.a.keep_by needs tables.a.keep"),
        (
            f"[tables.a]\nkeep = 1\nkeep_by = 'x'\n{FOLLOW}",
            "tables.a has keep and follow, which contradict each other",
        ),
        (
            f"[source]\nurl = 'a'\ntables = ['a', 'c']\n[tables.a]\n{FOLLOW}",
            'tables.a.follow.table names "b", which source.tables leaves out',
        ),
        (
            f"[tables.a]\n{FOLLOW}\n[tables.B]\nfollow = {{ table = ['c', 'A'], column = 'y' }}",
            "follow goes in a circle: a, b",
        ),
    ],
)
def test_a_contradiction_is_refused(text: str, line: str):
    assert line in refused(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("keep = 0", "tables.a.keep is not allowed as it stands; allowed: a number of rows, 1 to"),
        ("keep = true", "tables.a.keep is not allowed"),
        ("keep = '5'", "tables.a.keep is not allowed"),
        ("keep_by = ''", "tables.a.keep_by is not allowed"),
        ("follow = 'b'", 'tables.a.follow is not allowed as it stands; allowed: { table = "TABLE"'),
        ("follow = { table = 'b' }", "tables.a.follow.column is missing"),
        ("follow = { column = 'b' }", "tables.a.follow.table is missing"),
        ("follow = { table = [], column = 'b' }", "tables.a.follow.table is not allowed"),
        ("follow = { tables = 'b', column = 'b' }", "tables.a.follow.tables is not a configuration key"),
    ],
)
def test_bounds_that_are_none_are_refused(text: str, line: str):
    assert line in refused(f"[tables.a]\n{text}")


def test_bounds_are_read():
    config = configured(
        "[tables.a]\nkeep = 7\nkeep_by = 'at'\n[tables.b]\nfollow = { table = 'a', column = 'of' }\n"
        "[tables.c]\nfollow = { table = ['a', 'b'], column = 'of' }"
    )
    assert config.tables["a"].settings == TableSettings(keep=7, keep_by="at")
    assert config.tables["b"].settings == TableSettings(follow=Follow(("a",), "of"))
    assert config.tables["c"].settings == TableSettings(follow=Follow(("a", "b"), "of"))


def test_the_preset_knows_the_memorys_tables():
    config = configured("[source]\nurl = 'a'\n[preset.memory]\nmax_episodes_cache = 5\nbatch_size = 7")
    tables = {name: table.settings for name, table in config.tables.items()}
    assert tables["episodes"] == TableSettings(keep=5, keep_by="start_time", key_type="text")
    parents = ("episodes", "patterns", "heuristics")
    assert tables["embeddings"] == TableSettings(follow=Follow(parents, "item_id"), key_type="text")
    assert tables["patterns"] == tables["heuristics"] == TableSettings(key_type="text")
    assert set(config.need_source().tables or ()) == set(tables) == config.optional
    assert config.cache.commit_rows == 7


def test_what_is_said_of_a_table_goes_before_the_preset():
    config = configured(
        "[source]\nurl = 'a'\ntables = ['Episodes', 'embeddings', 'more']\n[preset.memory]\n"
        "sync_patterns = false\n[tables.EPISODES]\nexclude = ['steps']"
    )
    assert config.need_source().tables == ("Episodes", "embeddings", "more")
    assert config.tables["EPISODES"].settings == TableSettings(
        keep=1000, keep_by="start_time", exclude=("steps",), key_type="text"
    )
    assert config.tables["embeddings"].settings == TableSettings(
        follow=Follow(("episodes",), "item_id"), key_type="text"
    )
    assert (set(config.tables), config.optional) == ({"EPISODES", "embeddings"}, frozenset())


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("batch_size = 0", "preset.memory.batch_size is not allowed"),
        ("max_episodes_cache = -1", "preset.memory.max_episodes_cache is not allowed"),
        ("sync_patterns = 1", "preset.memory.sync_patterns is not allowed as it stands; allowed: true or"),
        ("cache = 1", "preset.memory.cache is not a configuration key"),
    ],
)
def test_a_wrong_preset_is_refused(text: str, line: str):
    assert line in refused(f"[preset.memory]\n{text}")


def test_table_names_are_the_same_in_upper_and_lower_case():
    configured('[source]\nurl = "a"\ntables = ["B"]\n[tables.b]\nkey_columns = ["x"]')


@pytest.mark.parametrize("listen", ["8645", "host", "h:p", "h:65536", "::1:80", "a b:1", ""])
def test_an_address_that_is_none_is_refused(listen: str):
    assert refused(f'[http]\nlisten = "{listen}"').startswith("http.listen is not allowed")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[source]\nurl = 'a'\nimage = 'row'", "source.image"),
    ],
)
def test_what_this_version_lacks_is_refused_and_said(text: str, what: str):
    line = refused(text)
    assert line.startswith(what)
    assert "is not available in this version yet" in line


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:app.db", "app.db"),
        ("FILE:app.db", "app.db"),
        ("app.db", "app.db"),
        ("file:a%20b?mode=ro#x", "a%20b?mode=ro#x"),
        ("file:///tmp/a.db", "///tmp/a.db"),
        ("file:file:a", "file:a"),
        ("a:b.db", "a:b.db"),
    ],
)
def test_the_path_of_a_file_is_taken_literally(url: str, path: str):
    assert configured(f'[source]\nurl = "{url}"').need_source().path == Path(path)
