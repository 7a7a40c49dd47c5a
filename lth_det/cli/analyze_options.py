"""Options of ``analyze_coco.py`` that tune the analysis, and their translation."""

import argparse
from pathlib import Path
from typing import Any

from lth_det.analysis.options import DEFAULT_CROSSES
from lth_det.cli.common import read_json
from lth_det.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the tuning options to the parser."""
    group = parser.add_argument_group("attributes")
    group.add_argument(
        "--frequency",
        metavar="SCHEME",
        default="auto",
        help="classes as rare/common/frequent: auto (LVIS letters, else terciles), terciles, lvis, or limits such as "
        "10,100 of training images; instances:SCHEME counts instances",
    )
    group.add_argument(
        "--size-edges",
        metavar="PX,PX",
        help="own object sides in px that split sizes, in place of the finer bins",
    )
    group.add_argument(
        "--cross", metavar="A,B[,C]", action="append", default=[], help="further axes to cross"
    )
    group.add_argument(
        "--consensus",
        metavar="NAME,NAME",
        help="grade objects by how many of these runs find them (the evaluated one never among them)",
    )
    group.add_argument(
        "--keypoint-sigmas", metavar="S,S", help="OKS constants, one per keypoint; default: COCO's"
    )
    group.add_argument("--no-errors", action="store_true", help="leave the error types out")
    group.add_argument(
        "--most-lost", metavar="N", type=int, default=200, help="lost objects to list (200)"
    )
    group = parser.add_argument_group("statistics")
    group.add_argument(
        "--bootstrap",
        metavar="B",
        type=int,
        default=1000,
        help="replicates (1000); 0: no intervals and no verdict",
    )
    group.add_argument(
        "--bootstrap-axes",
        metavar="A,A",
        help="object axes whose bins get intervals; default: sizes, and all while that is cheap",
    )
    group.add_argument("--seed", type=int, default=1, help="of bootstrap and image halves (1)")
    group.add_argument("--level", type=float, default=0.95, help="of the intervals (0.95)")
    group.add_argument(
        "--margin",
        metavar="AP",
        type=float,
        default=0.3,
        help="non-inferiority margin in AP points (0.3)",
    )


def values(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options as keyword arguments of :class:`lth_det.analysis.options.Options`.

    Raises:
        InputError: a value cannot be used.
    """
    crosses = tuple(tuple(cross.split(",")) for cross in arguments.cross)
    return {
        "frequency": arguments.frequency,
        "size_edges": _numbers(arguments.size_edges, "--size-edges") or (),
        "crosses": tuple(dict.fromkeys((*DEFAULT_CROSSES, *crosses))),
        "labels": dict(_labels(item) for item in arguments.attribute),
        "keypoint_sigmas": _numbers(arguments.keypoint_sigmas, "--keypoint-sigmas")
        or _sigmas_of_run(arguments.run),
        "replicates": arguments.bootstrap,
        "bootstrap_axes": tuple(arguments.bootstrap_axes.split(","))
        if arguments.bootstrap_axes
        else None,
        "seed": arguments.seed,
        "level": arguments.level,
        "margin": arguments.margin / 100,
        "errors": not arguments.no_errors,
        "most_lost": arguments.most_lost,
        "consensus": tuple(arguments.consensus.split(",")) if arguments.consensus else (),
    }


def _numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{option} {text}: give numbers joined by commas.") from None


def _labels(item: str) -> tuple[str, dict[int, str]]:
    name, separator, path = item.partition("=")
    if not separator or not name or not path:
        raise InputError(f"--attribute {item}: write NAME=FILE, such as occluded=labels.json.")
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: labels are a JSON object {{annotation id: label}}.")
    try:
        return name, {int(key): str(label) for key, label in value.items()}
    except ValueError:
        raise InputError(f"{path}: the keys of labels are annotation ids, whole numbers.") from None


def _sigmas_of_run(folder: str | None) -> tuple[float, ...] | None:
    """Return the keypoint constants that a run was evaluated with, from its ``config.yaml``."""
    path = Path(folder) / "config.yaml" if folder else None
    if path is None or not path.is_file():
        return None
    try:
        import yaml
    except ImportError:  # the analysis works without what training needs
        return None
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
        sigmas = value["TEST"]["KEYPOINT_OKS_SIGMAS"]
        return tuple(float(s) for s in sigmas) or None
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
        return None
