"""Command line of the embedded data set."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from pathlib import Path

from lth_det.data.shapes.config import ShapesConfig
from lth_det.data.shapes.splits import SPLITS
from lth_det.data.shapes.store import ensure_shapes, verify_pixels
from lth_det.errors import ConfigError, LthDetError

_EXAMPLE = """example:
  python -m lth_det.data.shapes --stats
  python -m lth_det.data.shapes --sheet docs/images/shapes_contact_sheet.png
  python -m lth_det.data.shapes --voc datasets/shapes_voc
  python -m lth_det.data.shapes --set size=256 --set num_categories=44 --set train_images=20000
"""

VOC_SPLITS = {"train": "trainval", "val": "test"}
"""Split of the data set -> its name in the layout of PASCAL VOC."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lth_det.data.shapes",
        description="Make the embedded data set 'shapes' if it is missing, and print its folder.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stats", action="store_true", help="print objects by category and size")
    parser.add_argument("--check", action="store_true", help="read every image and compare digests")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="draw the contact sheet")
    parser.add_argument(
        "--voc",
        type=Path,
        metavar="FOLDER",
        help="also write it in the layout of PASCAL VOC: train as trainval, val as test",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a field of ShapesConfig; gives another data set in a folder of its own",
    )
    parser.add_argument("--home", type=Path, help="folder of the data sets (default: see README)")
    parser.add_argument("--workers", type=int, default=0, help="processes at most (0: all cores)")
    return parser


def parse_config(settings: list[str]) -> ShapesConfig:
    """Return the default config with "KEY=VALUE" settings applied.

    Raises:
        ConfigError: A setting has no "=", an unknown key, or a value that does not fit.
    """
    defaults = ShapesConfig()
    changes: dict[str, float] = {}
    for setting in settings:
        key, _, text = setting.partition("=")
        if not hasattr(defaults, key) or key not in defaults.to_dict():
            known = ", ".join(defaults.to_dict())
            raise ConfigError(f"--set {setting}: there is no field '{key}'; known are {known}.")
        kind = type(getattr(defaults, key))
        try:
            changes[key] = kind(text)
        except ValueError as error:
            raise ConfigError(
                f"--set {setting}: '{text}' is not of type {kind.__name__}."
            ) from error
    return dataclasses.replace(defaults, **changes)  # type: ignore[arg-type]  # kinds checked above


def _run(arguments: argparse.Namespace) -> None:
    folder = ensure_shapes(
        parse_config(arguments.set), home=arguments.home, workers=arguments.workers
    )
    sys.stdout.write(f"{folder}\n")
    if arguments.stats:
        from lth_det.data.shapes.stats import split_stats, stats_table

        for split in SPLITS.values():
            sys.stdout.write(f"\n{stats_table(split_stats(folder, split))}\n")
    if arguments.check:
        for name, digest in verify_pixels(folder).items():
            sys.stdout.write(f"{name}: {digest}\n")
    if arguments.sheet:
        from lth_det.data.shapes.sheet import contact_sheet

        contact_sheet(folder, arguments.sheet)
        sys.stdout.write(f"{arguments.sheet}\n")
    if arguments.voc:
        from lth_det.data.voc import write_voc

        for name, voc_name in VOC_SPLITS.items():
            split = SPLITS[name]
            annotations, images = folder / split.annotations, folder / split.image_dir
            count = write_voc(annotations, images, arguments.voc, split=voc_name)
            sys.stdout.write(f"{arguments.voc}: {count} images, {voc_name}\n")


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit code: 0 done, 2 the input was wrong."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        _run(arguments)
    except LthDetError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
