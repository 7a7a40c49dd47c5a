"""From a YAML file and KEY VALUE options to a configuration; every mistake is one sentence."""

import dataclasses
import difflib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lth_det.classify.config import ClassifyConfig
from lth_det.errors import ConfigError

_BASE = "_BASE_"


def load_config(config_file: str, options: Sequence[str] = ()) -> ClassifyConfig:
    """Return the configuration of a file with options merged in.

    A file may name another one in ``_BASE_`` (relative to itself) whose values it changes. Mappings are merged key by
    key, lists are replaced.

    Args:
        config_file: path of a YAML file.
        options: ``KEY VALUE`` pairs in one list; keys have dots (``solver.max_iter``), values are YAML, and lists may be
            written ``(0.8, 0.9)`` too.

    Raises:
        ConfigError: a file is missing or not plain YAML, a key is unknown, a value has the wrong type or range.
    """
    values = _read(Path(config_file).expanduser(), ())
    _known(ClassifyConfig, values, (), f"{config_file}: ")
    if len(options) % 2:
        raise ConfigError(
            f"The options must be pairs KEY VALUE, but {options[-1]!r} has no value (or a pair before it is torn)."
        )
    for key, text in zip(options[0::2], options[1::2], strict=True):
        change = _nested(key, _option_value(text))
        _known(ClassifyConfig, change, (), "")
        values = _merged(values, change)
    config = _build(ClassifyConfig, values, "")
    return _with_absolute_source(config, Path(config_file))


def flatten(config: ClassifyConfig) -> dict[str, Any]:
    """Return the configuration as dotted key -> JSON value."""
    flat: dict[str, Any] = {}

    def walk(node: Mapping[str, Any], prefix: str) -> None:
        for key, value in node.items():
            if isinstance(value, Mapping) and value:
                walk(value, f"{prefix}{key}.")
            else:
                flat[prefix + key] = list(value) if isinstance(value, tuple) else value

    walk(dataclasses.asdict(config), "")
    return flat


def _with_absolute_source(config: ClassifyConfig, file: Path) -> ClassifyConfig:
    source = config.transfer.source
    if not source or Path(source).is_absolute():
        return config
    beside = file.parent / source
    path = beside if beside.is_file() else Path(source)
    transfer = dataclasses.replace(config.transfer, source=str(path))
    return dataclasses.replace(config, transfer=transfer)


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in seen:
        raise ConfigError(f"The _BASE_ entries of {seen[0]} go round in a circle.")
    if not path.is_file():
        by = f"the _BASE_ of {seen[-1]}" if seen else "--config-file"
        raise ConfigError(f"The config file {path} does not exist; check {by}.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}" if mark is not None else str(path)
        problem = getattr(error, "problem", None) or "unreadable"
        raise ConfigError(f"{place}: not plain YAML ({problem}).") from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as text ({error}).") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{path} holds no keys; a config file has lines such as 'key: value'.")
    base = values.pop(_BASE, None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ConfigError(f"{path}: _BASE_ is {base!r}, but must be the name of a file.")
    return _merged(_read(path.parent / base, (*seen, path.resolve())), values)


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(values)
    for key, value in changes.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = _merged(dict(old or {}), value) if both else value
    return result


def _nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    nested: dict[str, Any] = value
    return nested


def _option_value(text: str) -> Any:
    stripped = text.strip()
    if stripped.startswith("(") and stripped.endswith(")"):
        stripped = f"[{stripped[1:-1].rstrip().rstrip(',')}]"
    try:
        return yaml.safe_load(stripped)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(
            f"The value {text!r} is not plain YAML; write numbers, words or [lists]."
        ) from error


def _known(cls: Any, values: Any, path: tuple[str, ...], where: str) -> None:
    """Raise for the first key that ``cls`` does not have."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    kinds = typing.get_type_hints(cls)
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"{where}{'.'.join(path)} is {values!r}, but is a section with keys of its own ({', '.join(fields)})."
        )
    for key, value in values.items():
        full = ".".join((*path, str(key)))
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.5)
            hint = f" (did you mean {'.'.join((*path, close[0]))}?)" if close else ""
            raise ConfigError(f"{where}there is no config key {full}{hint}.")
        if dataclasses.is_dataclass(kinds[key]):
            _known(kinds[key], value, (*path, str(key)), where)


def _build(cls: Any, values: Mapping[str, Any], prefix: str) -> Any:
    kinds = typing.get_type_hints(cls)
    made = {}
    for key, value in values.items():
        kind, full = kinds[key], f"{prefix}{key}"
        if dataclasses.is_dataclass(kind):
            made[key] = _build(kind, value, f"{full}.")
        else:
            made[key] = _converted(kind, value, full)
    return cls(**made)


def _converted(kind: Any, value: Any, key: str) -> Any:
    origin = typing.get_origin(kind)
    if origin is tuple:
        item = typing.get_args(kind)[0]
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{key} is {value!r}, but must be a list such as [a, b].")
        return tuple(_scalar(item, part, f"{key}[{index}]") for index, part in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{key} is {value!r}, but must be a mapping of names to values.")
        item = typing.get_args(kind)[1]
        return {str(name): _scalar(item, part, f"{key}.{name}") for name, part in value.items()}
    return _scalar(kind, value, key)


def _scalar(kind: Any, value: Any, key: str) -> Any:
    if kind is Any:
        return value
    if kind is float and isinstance(value, str):
        # YAML 1.1 reads 1e-4 (no point) as text.
        try:
            return float(value)
        except ValueError:
            pass
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is str and value is None:
        return ""
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    raise ConfigError(f"{key} is {value!r}, but must be {names[kind]}.")
