"""Strict reading of the mappings of a plan: unknown keys and wrong types are told, never ignored."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from lth_det.errors import ConfigError

_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a mapping",
}


@dataclasses.dataclass
class Keys:
    """A mapping of a plan file whose keys are taken one by one; :meth:`end` refuses those that nobody took.

    Attributes:
        where: the place, for messages, such as ``"plan.yaml: sources.own"``.
        values: the mapping.
    """

    where: str
    values: Mapping[str, Any]
    taken: set[str] = dataclasses.field(default_factory=set)

    def __post_init__(self) -> None:
        if not isinstance(self.values, Mapping):
            raise ConfigError(f"{self.where} must be a mapping of keys to values.")

    def take(self, key: str, kind: type, default: Any = ...) -> Any:
        """Return the value of ``key``, of type ``kind``; without a default the key must be there.

        Raises:
            ConfigError: the key is missing or its value has another type.
        """
        self.taken.add(key)
        value = self.values.get(key)
        if value is None:
            if default is ...:
                raise ConfigError(f"{self.where}: the key {key} is missing.")
            return default
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ConfigError(f"{self.where}: {key} is {value!r}, but must be {_WORDS[kind]}.")
        return value

    def strings(self, key: str, default: Any = ...) -> list[str]:
        """Return the value of ``key``, a list of texts.

        Raises:
            ConfigError: the key is missing or its value is something else.
        """
        value = self.take(key, list, default)
        if not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{self.where}: {key} is {value!r}, but must be a list of names.")
        return list(value)

    def numbers(self, key: str, kind: type, default: Any = ...) -> list[Any]:
        """Return the value of ``key``, a list of numbers without duplicates.

        Raises:
            ConfigError: the key is missing, empty, or its value is something else.
        """
        value = self.take(key, list, default)
        good = all(isinstance(item, kind | int) and not isinstance(item, bool) for item in value)
        if not value or not good or len(set(value)) != len(value):
            raise ConfigError(
                f"{self.where}: {key} is {value!r}, but must be a list of different numbers."
            )
        return [kind(item) for item in value]

    def choice(self, key: str, allowed: tuple[str, ...], default: Any = ...) -> str:
        """Return the value of ``key``, one of ``allowed``.

        Raises:
            ConfigError: the key is missing or its value is none of them.
        """
        value = self.take(key, str, default)
        if value not in allowed:
            raise ConfigError(
                f"{self.where}: {key} is {value!r}; choose one of {', '.join(allowed)}."
            )
        return str(value)

    def inner(self, key: str, default: Any = ...) -> "Keys":
        """Return the mapping under ``key``.

        Raises:
            ConfigError: the key is missing or its value is no mapping.
        """
        return Keys(f"{self.where}: {key}", self.take(key, dict, default))

    def opts(self, key: str = "opts") -> tuple[str, ...]:
        """Return the mapping ``key`` of config keys to values as ``KEY VALUE`` arguments; empty if it is not there."""
        found: list[str] = []
        for name, value in self.take(key, dict, {}).items():
            shown = tuple(value) if isinstance(value, list) else value
            found += [str(name), str(shown)]
        return tuple(found)

    def end(self) -> None:
        """Refuse keys that were not asked for.

        Raises:
            ConfigError: names the first one and what it may have been meant to be.
        """
        for key in self.values:
            if key not in self.taken:
                near = difflib.get_close_matches(str(key), self.taken, n=1)
                hint = f"; {near[0]} was perhaps meant" if near else ""
                raise ConfigError(
                    f"{self.where}: the key {key} is not known{hint} (known: {', '.join(sorted(self.taken))})."
                )
