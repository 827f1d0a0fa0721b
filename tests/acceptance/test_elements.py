"""A database that nobody here made: mendeleev's table of the elements, in the journal mode it comes in."""

from __future__ import annotations

import importlib.util
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import cdc
from tests.support.deployment import EMBEDDED, NODES, Deployment
from tests.support.parts import missing

if TYPE_CHECKING:
    from tests.support.kafka import KafkaBroker

WITHOUT_KEY = "alembic_version"
TABLES = 13

CHANGES = """
INSERT INTO series VALUES (11, 'Superactinides', '#abcdef');
UPDATE elements SET density = density + 0.1, annotation_of_ours = 'heavy' WHERE atomic_number > 100;
UPDATE elements SET name = 'Eisen' WHERE symbol = 'Fe';
DELETE FROM isotopedecaymodes WHERE isotope_id % 7 = 0;
DELETE FROM scattering_factors WHERE atomic_number = 92;
UPDATE ionicradii SET id = id + 10000 WHERE charge = 2;
REPLACE INTO groups VALUES (18, 'VIIIA', 'Noble gases again'), (19, NULL, 'none');
REPLACE INTO isotopes (id, atomic_number, mass, parity) SELECT id, 1, 1e300, 0 FROM isotopes LIMIT 50;
INSERT INTO phasetransitions (atomic_number, boiling_point, allotrope) VALUES (6, 9e999, 'graphene');
UPDATE alembic_version SET version_num = 'changed';
"""


@pytest.fixture
def elements(tmp_path: Path) -> Path:
    found = importlib.util.find_spec("mendeleev")
    if found is None or found.origin is None:
        missing("the package mendeleev", "run `make test`")
    copy = tmp_path / "elements.db"
    shutil.copy(Path(found.origin).with_name("elements.db"), copy)
    copy.chmod(0o644)
    return copy


def keys_of(path: Path) -> dict[str, list[str]]:
    """The user's tables, and the columns of each one's primary key."""
    with closing(sqlite3.connect(path)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {
            name: [
                column
                for column, place in connection.execute("SELECT name, pk FROM pragma_table_info(?)", (name,))
                if place
            ]
            for name in names
            if not name.startswith(("sqlite_", "_cdc_"))
        }


def change(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"ALTER TABLE elements ADD annotation_of_ours; BEGIN; {CHANGES} COMMIT;")


def journal_mode(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0]


def test_the_elements_are_replicated_changed_and_equal_by_sync(elements: Path, tmp_path: Path):
    keys = keys_of(elements)
    assert len(keys) == TABLES
    mode = journal_mode(elements)
    config = tmp_path / "cdc.toml"
    # The one table without a primary key gets a key of ours.
    config.write_text(
        f'[source]\nurl = "file:{elements}"\n[cache]\npath = "{tmp_path / "embedded.redb"}"\n'
        f'[tables.{WITHOUT_KEY}]\nkey_columns = ["version_num"]\n'
    )
    keys[WITHOUT_KEY] = ["version_num"]
    with Deployment(tmp_path, elements, "", "", keys=keys, config=config) as deployment:
        loaded = cdc("sync", "--json", "--config", config).json
        assert loaded["rows"] == sum(len(rows) for rows in deployment.source_rows().values())
        deployment.assert_equal((EMBEDDED,))
        change(elements)
        assert cdc("sync", "--json", "--config", config).json["events"] > 0
        deployment.assert_equal((EMBEDDED,))
        assert cdc("sync", "--json", "--config", config).json["events"] == 0
    assert journal_mode(elements) == mode


@pytest.mark.slow
def test_the_elements_are_replicated_changed_and_equal_through_kafka(
    elements: Path, tmp_path: Path, kafka: KafkaBroker, topic: str
):
    keys = keys_of(elements)
    del keys[WITHOUT_KEY]
    with Deployment(tmp_path, elements, kafka.bootstrap, topic, keys=keys) as deployment:
        cdc(*deployment.arguments("poller"), "--once")
        cdc(*deployment.arguments("node-a"), "--once")
        skipped = deployment.status("node-a")["source"]["skipped"]
        assert [entry["table"] for entry in skipped] == [WITHOUT_KEY]
        deployment.assert_equal(("node-a",))
        deployment.start("poller", *NODES)
        deployment.wait_for_load(NODES)
        change(elements)
        deployment.wait_until_level()
        deployment.stop()
        deployment.assert_equal()


def test_nothing_is_left_of_capture_after_uninstall(elements: Path, tmp_path: Path):
    with closing(sqlite3.connect(elements)) as connection:
        before = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()
    cdc("sync", "--source", elements, "--cache", tmp_path / "cache.redb")
    cdc("uninstall", "--source", elements)
    with closing(sqlite3.connect(elements)) as connection:
        after = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()
    assert [row for row in after if row[1] != "sqlite_sequence"] == before
