"""Values of a Detectron2 YAML file, without Detectron2: for estimates and for noticing that a config has changed."""

import ast
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lth_det.errors import ConfigError


def read_yaml(path: str) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises:
        ConfigError: the file is missing, is not YAML or holds something else than a mapping.
    """
    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist; check the path.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML ({error}); mend the file.") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} is not a mapping of keys to values; mend the file.")
    return value


@functools.lru_cache(maxsize=256)
def _merged(path: str, depth: int = 0) -> dict[str, Any]:
    value = read_yaml(path)
    base = value.pop("_BASE_", None)
    if base is None:
        return value
    if depth > 20:
        raise ConfigError(f"{path}: its _BASE_ files name each other in a circle.")
    return _merge(_merged(str(Path(path).parent / str(base)), depth + 1), value)


def _merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(old)
    for key, value in new.items():
        inner = both.get(key)
        both[key] = (
            _merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
        )
    return both


def config_sha256(path: str) -> str:
    """Return the SHA-256 of the values of a config and its bases (comments and order do not count).

    Raises:
        ConfigError: a file is missing or damaged.
    """
    return hashlib.sha256(
        json.dumps(_merged(path), sort_keys=True, default=str).encode()
    ).hexdigest()


def config_value(path: str, key: str, opts: Sequence[str] = ()) -> Any:
    """Return the value of ``key`` (``"SOLVER.MAX_ITER"``) in a config, after ``KEY VALUE`` options; ``None`` if unset.

    Strings that are Python literals come back as such, as in Detectron2.

    Raises:
        ConfigError: a file is missing or damaged.
    """
    value: Any = _merged(path)
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    for name, text in zip(opts[::2], opts[1::2], strict=False):
        if name == key:
            value = text
    if isinstance(value, str):
        try:
            return ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return value
    return value


def forget_configs() -> None:
    """Read config files anew from now on."""
    _merged.cache_clear()
