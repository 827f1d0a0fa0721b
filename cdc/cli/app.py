"""Every command by name, and how one is run.

To add a command, write one line in `COMMANDS`, its help, and ``cdc/cli/NAME.py`` with a function NAME::

    def poll(
        *,
        once: Annotated[bool, Parameter(env_var="CDC_ONCE", negative="", help="End when sent.")] = False,
        common: Common = DEFAULTS,
    ) -> int | None:
        \"\"\"Publish changes of the source to Kafka.\"\"\"
        config = common.load()
        stop = asyncio.Event()  # set by SIGINT and SIGTERM
        result = run_async(do_the_work(config, stop), stop=stop)
        print_result(common, result.to_json(), "text for people")

The function returns its exit code, None for 0, or raises a CdcError. Every flag names its environment
variable (``CDC_`` and the flag's name; a test holds this). Logs are set up before the function is called.
Modules are imported only when their command is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cyclopts import App, CycloptsError

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.failures import print_failure, print_usage_failure
from cdc.cli.output import abandon_output, flush_output, give_up_output, make_console
from cdc.logs import configure_logs
from schemas.errors import ExitCode

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable, Sequence

DISTRIBUTION = "turso-redb-cdc"

COMMANDS = {
    "demo": "Show the whole path on a sample database: change, replicate, kill, resume, read, verify.",
    "init": "Write a commented cdc.toml to start from; an existing one is left alone.",
    "install": "Create the change log and its triggers at the source, or bring them up to date.",
    "uninstall": "Remove the change log and all triggers from the source.",
    "sync": "Bring the cache to everything committed at the source now, and end.",
    "run": "Keep the cache equal to the source, poller and applier in one process.",
    "poll": "Publish the source's changes to Kafka.",
    "consume": "Keep the cache equal to what the poller publishes.",
    "snapshot": "Publish one snapshot of the source to Kafka, from which new nodes start.",
    "pause": "Have the running node stop applying; readers go on being served.",
    "resume": "Have the paused node go on applying.",
    "quarantine": "List rows that could not be applied, try again, or take their marks away.",
    "reread": "Have every cache read one table anew.",
    "status": "Show positions, lag, rows per table and the health of each part.",
    "verify": "Compare the cache with the source while both are live; exit 3 where they differ.",
    "rebuild": "Build a new cache file beside the old one and swap it in.",
    "prune": "Delete change-log rows at the source that no reader needs any more.",
    "get": "Print one row of the cache.",
    "scan": "Print rows of a table of the cache as JSON lines, in key order.",
    "tail": "Print change events as JSON lines, from Kafka, or from the change log without Kafka.",
    "why": "Tell what is known of one row: cached, at the source, what wrote it, what is pending.",
    "doctor": "Check everything a deployment needs: source, Kafka, cache; exit 1 where something fails.",
    "find": "Print the rows of the cache that have a value in an indexed column, as JSON lines.",
    "bench": "Measure throughput, latency, memory and idle cost; figures as JSON with --json.",
    "dump": "Print whole tables of the cache as JSON lines: tables by name, rows in key order.",
}

USAGES = {"get": "TABLE KEY...", "why": "TABLE KEY...", "dump": "[TABLE...]"}
"""What cyclopts calls ARGS where it may be given several times."""


def make_app() -> App:
    """Return the whole command line."""
    app = App(
        name="cdc",
        help="Keeps local redb files exactly equal to a Turso (SQLite, libSQL) database.",
        version=_version,
        version_flags=["--version"],
        console=make_console(),
    )
    for name, summary in COMMANDS.items():
        usage = f"Usage: cdc {name} [OPTIONS] {USAGES[name]}" if name in USAGES else None
        app.command(f"cdc.cli.{name}:{name}", name=name, help=summary, usage=usage)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run a command line.

    Args:
        arguments: what follows ``cdc``.

    Returns:
        The exit code (`schemas.errors.ExitCode`). Errors have been printed, standard output is flushed.
    """
    log_level = DEFAULTS.log_level
    try:
        app = make_app()
        words = _config_after_command(app, list(arguments))
        command, bound = _parse(app, words)
        common = next((item for item in bound.arguments.values() if isinstance(item, Common)), DEFAULTS)
        log_level = common.log_level
        configure_logs(common.log_format, log_level)
        code = command(*bound.args, **bound.kwargs)
        flush_output()
    except CycloptsError as error:
        return print_usage_failure(error)
    except KeyboardInterrupt:
        return ExitCode.DONE
    except BrokenPipeError:
        # Whoever read the output has enough of it: `cdc scan episodes | head`.
        abandon_output()
        return ExitCode.DONE
    except Exception as error:  # noqa: BLE001 -- the one place where every failure becomes a line and a code
        code = print_failure(error, with_traceback=log_level == "debug")
        give_up_output()
        return code
    return code if isinstance(code, int) else ExitCode.DONE


def _parse(app: App, words: list[str]) -> tuple[Callable[..., Any], inspect.BoundArguments]:
    command, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    return command, bound


def _config_after_command(app: App, arguments: list[str]) -> list[str]:
    """Move a ``--config FILE`` that precedes the command behind it, where all flags are read."""
    if arguments[:1] == ["--config"] and len(arguments) > 1:
        flag, rest = arguments[:2], arguments[2:]
    elif arguments and arguments[0].startswith("--config="):
        flag, rest = arguments[:1], arguments[1:]
    else:
        return arguments
    command_words = len(app.parse_commands(rest)[0])
    return [*rest[:command_words], *(flag if command_words else []), *rest[command_words:]]


def _version() -> str:
    from importlib import metadata  # noqa: PLC0415 -- no other command needs it, and it takes a while

    try:
        return f"cdc {metadata.version(DISTRIBUTION)}"
    except metadata.PackageNotFoundError:
        return "cdc (a checkout that is not installed)"
