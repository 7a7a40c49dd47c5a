"""From a config file and KEY VALUE options to a checked configuration; every mistake is one sentence."""

import difflib
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from detectron2.config import get_cfg

# Imported for its entry in Detectron2's registry, which configurations name.
from lth_det.d2 import c4_heads as _c4_heads  # noqa: F401
from lth_det.d2.backbone import add_narrow_resnet_config
from lth_det.d2.config import add_lth_config, check_lth_config
from lth_det.d2.imports import import_modules
from lth_det.errors import ConfigError

logger = logging.getLogger(__name__)

# What yacs says, with both values in full between the types and the key.
_TYPE_MISMATCH = re.compile(
    r"Type mismatch \(<class '(.+?)'> vs\. <class '(.+?)'>\).* for config key: (\S+)$"
)
_MOST_NODES = 100_000
_NODE_TYPE = "detectron2.config.config.CfgNode"
_MERGE_ERRORS = (KeyError, ValueError, TypeError, AssertionError, AttributeError)


def load_config(config_file: str, opts: Sequence[str] = ()) -> Any:
    """Return Detectron2's defaults with the node ``LTH``, a config file and options merged in, and checked.

    ``_BASE_`` in a file is relative to that file. Only plain YAML is read: tags that run Python code, which
    Detectron2 itself accepts (its own ``Base-RetinaNet.yaml`` has one), are refused.

    Args:
        config_file: path of a YAML file; "" uses the defaults alone.
        opts: ``KEY VALUE`` pairs in one list, as on Detectron2's command lines; values are Python literals or text.

    Returns:
        A ``detectron2.config.CfgNode``, not frozen. Where nothing sets ``MODEL.DEVICE`` it is ``cuda`` if that is there,
        else ``cpu``. Frozen layers without weights are logged as a warning.

    Raises:
        ConfigError: a file is missing or not YAML, a key is unknown, a value has the wrong type, a module of
            ``LTH.IMPORTS`` cannot be imported, or
            :func:`~lth_det.d2.config.check_lth_config` refuses a value.
    """
    cfg = get_cfg()
    if not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"  # Detectron2's default is cuda
    add_lth_config(cfg)
    add_narrow_resnet_config(cfg)
    if config_file:
        _merge_file(cfg, config_file)
    merge_options(cfg, opts)
    import_modules(cfg.LTH.IMPORTS)
    check_lth_config(cfg)
    _warn_of_frozen_noise(cfg)
    _warn_of_ignored_rates(cfg)
    return cfg


def _warn_of_ignored_rates(cfg: Any) -> None:
    defaults = get_cfg()
    add_lth_config(defaults)
    keys = ("ROUNDS", "PRUNE_RATE", "PRUNE_RATE_PER_ROUND")
    ignored = [f"LTH.{key}" for key in keys if cfg.LTH[key] != defaults.LTH[key]]
    if cfg.LTH.TARGETS and ignored:
        logger.warning(
            "LTH.TARGETS is %s and decides the rounds: %s has no effect; add LTH.TARGETS '()' to use it.",
            tuple(cfg.LTH.TARGETS),
            " and ".join(ignored),
        )


def _warn_of_frozen_noise(cfg: Any) -> None:
    if not cfg.MODEL.WEIGHTS and cfg.MODEL.BACKBONE.FREEZE_AT > 0:
        logger.warning(
            "MODEL.WEIGHTS is empty and MODEL.BACKBONE.FREEZE_AT is %d: the first stages keep their random weights. "
            "Fine for a trial; for results name ImageNet weights.",
            cfg.MODEL.BACKBONE.FREEZE_AT,
        )


def _merge_file(cfg: Any, config_file: str) -> None:
    path = Path(config_file).expanduser()
    if not path.is_file():
        raise ConfigError(f"The config file {config_file} does not exist; check --config-file.")
    # Detectron2's merge_from_file reads the file again, then converts keys of older versions.
    loaded = _read(cfg, str(path))
    if _expanded(loaded, _MOST_NODES) > _MOST_NODES:
        raise ConfigError(
            f"{config_file} holds more than {_MOST_NODES} values once its YAML aliases are written out; it is no config file."
        )
    if not isinstance(loaded, dict):
        raise ConfigError(
            f"{config_file} holds no keys; a config file has lines such as 'KEY: VALUE'."
        )
    if loaded.get("VERSION", cfg.VERSION) == cfg.VERSION:
        for key, known in _unknown_keys(cfg, loaded, ()):
            raise ConfigError(f"{config_file}: there is no config key {key}{_suggest(key, known)}.")
    try:
        cfg.merge_from_file(str(path), allow_unsafe=False)
    except _MERGE_ERRORS as error:
        raise ConfigError(f"{config_file}: {_message(error)}.") from error


def _read(cfg: Any, path: str) -> Any:
    try:
        return cfg.load_yaml_with_base(path, allow_unsafe=False)
    except yaml.constructor.ConstructorError as error:
        raise ConfigError(
            f"{_place(error, path)}: {error.problem}; only plain YAML is read, without tags that run Python."
        ) from error
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"{_place(error, path)}: not valid YAML ({problem}).") from error
    except OSError as error:
        raise ConfigError(
            f"{error.filename or path} cannot be read ({error.strerror}); check the _BASE_ entries of {path}."
        ) from error
    except RecursionError as error:
        raise ConfigError(
            f"The _BASE_ entries of {path} go round in a circle, or its values are nested too deeply."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file in UTF-8.") from error
    except _MERGE_ERRORS as error:
        raise ConfigError(
            f"{path} or a _BASE_ of it is empty or holds something else than keys and values ({_message(error)})."
        ) from error


def _expanded(value: Any, most: int) -> int:
    """Return the number of values with aliases written out, or one more than ``most`` as soon as that is known.

    A few lines of aliases of aliases stand for billions of values, which merging would copy one by one.
    """
    count, waiting = 0, [value]
    while waiting and count <= most:
        item = waiting.pop()
        count += 1
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
    return count


def _unknown_keys(
    node: Any, loaded: Any, prefix: tuple[str, ...]
) -> Iterator[tuple[str, list[str]]]:
    for key, value in loaded.items():
        path = (*prefix, str(key))
        if key not in node:
            full = ".".join(path)
            if not (node.is_new_allowed() or node.key_is_deprecated(full)):
                yield full, [".".join((*prefix, str(name))) for name in node]
        elif isinstance(value, dict) and isinstance(node[key], dict):
            yield from _unknown_keys(node[key], value, path)


def merge_options(cfg: Any, opts: Sequence[Any]) -> None:
    """Merge ``KEY VALUE`` pairs into ``cfg``.

    Raises:
        ConfigError: a key is unknown, a value has the wrong type or is missing.
    """
    if len(opts) % 2:
        raise ConfigError(
            f"The options must be pairs KEY VALUE, but {opts[-1]!r} has no value (or a pair before it is torn)."
        )
    for key, value in zip(opts[0::2], opts[1::2], strict=True):
        _find_option(cfg, str(key))
        try:
            cfg.merge_from_list([key, value])
        except _MERGE_ERRORS as error:
            raise ConfigError(f"The option {key} {value}: {_message(error)}.") from error


def _find_option(cfg: Any, key: str) -> None:
    node = cfg
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, dict) or part not in node:
            prefix = ".".join(parts[:depth])
            known = (
                [f"{prefix}.{name}" if prefix else name for name in node]
                if isinstance(node, dict)
                else []
            )
            raise ConfigError(f"There is no config key {key}{_suggest(key, known)}.")
        node = node[part]


def _suggest(key: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def _place(error: Any, config_file: str) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"{mark.name}, line {mark.line + 1}" if mark is not None else config_file


def _message(error: Exception) -> str:
    text = " ".join(str(error.args[0]).split()) if error.args else type(error).__name__
    mismatch = _TYPE_MISMATCH.match(text)
    if mismatch:
        wanted, got, key = (
            part.replace(_NODE_TYPE, "node (a group of keys)") for part in mismatch.groups()
        )
        hint = "; write it with a decimal point" if (wanted, got) == ("float", "int") else ""
        return f"{key} must be of type {wanted}, but the value given is of type {got}{hint}"
    return text.rstrip(".")
