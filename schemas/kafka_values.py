"""Reading one value of a Kafka property: typed as TOML has it, or text as a Java properties file has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_INT32_MAX = 2**31 - 1


class Reader:
    """The values given, looked up by name; every error names the property and no value."""

    def __init__(self, given: Mapping[str, object]) -> None:
        self._given = given

    def first_given(self, *names: str) -> tuple[str, str] | None:
        """Name and text of the one of these names (aliases) that was given; None when none was."""
        found = [name for name in names if name in self._given]
        if not found:
            return None
        if len(found) > 1:
            raise UsageError(f"kafka.{found[1]}: says the same as kafka.{found[0]}", "leave one of them out")
        return found[0], text(found[0], self._given[found[0]])

    def get(self, *names: str) -> str | None:
        """Text of the one of these names (aliases) that was given; None when none was."""
        found = self.first_given(*names)
        return None if found is None else found[1]

    def choice(self, name: str, allowed: Mapping[str, Any], default: Any) -> Any:
        """What the given text stands for in `allowed`; `default` when none was given."""
        return one_of(allowed)(name, self._given[name]) if name in self._given else default

    def names_among(self, names: frozenset[str]) -> list[str]:
        """Which of these names were given."""
        return sorted(names & self._given.keys())


def text(name: str, value: object) -> str:
    """Text as it is."""
    if isinstance(value, str):
        return value
    raise UsageError(f"kafka.{name}: must be text", "put the value in quotes")


def number(least: int, unit: str) -> Callable[[str, object], int]:
    """A whole number of `unit`, from `least` to what Java's int holds."""

    def read(name: str, value: object) -> int:
        if isinstance(value, str) and value.strip().isdecimal():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= _INT32_MAX:
            return value
        raise UsageError(
            f"kafka.{name}: must be a whole number of {unit}, {least} to {_INT32_MAX}", "correct it"
        )

    return read


def boolean(name: str, value: object) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    read: bool = one_of({"true": True, "false": False})(name, value)
    return read


def one_of(allowed: Mapping[str, Any]) -> Callable[[str, object], Any]:
    """One of a few texts, in any case; gives what it stands for."""
    by_lower = {name.lower(): meaning for name, meaning in allowed.items()}

    def read(name: str, value: object) -> Any:
        if isinstance(value, str) and value.lower() in by_lower:
            return by_lower[value.lower()]
        listed = ", ".join(f'"{name}"' for name in allowed)
        raise UsageError(f"kafka.{name}: must be one of {listed}", "choose one of them")

    return read
