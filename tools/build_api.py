#!/usr/bin/env python
"""Build the API reference: HTML pages of the packages from their docstrings, with pdoc.

A package's page shows what its ``__init__`` offers under a name of its own (``from x import a as a``), then its modules.
Nothing is sent anywhere; the pages need no network.
"""

import argparse
import ast
import importlib
import pkgutil
import sys
from pathlib import Path
from types import ModuleType
from typing import NoReturn

EXAMPLE = """
examples:
  everything, into build/api/index.html:
    python tools/build_api.py
  two packages:
    python tools/build_api.py --output build/api_core lth_det.tickets lth_det.pruning

Exit code: 0 done, 2 a package or pdoc is missing.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("packages", nargs="*", default=["lth_det"], help="default: lth_det")
    parser.add_argument("--output", type=Path, default=Path("build/api"), metavar="DIR")
    return parser


def offered_names(module: ModuleType) -> list[str]:
    """Return the names that a package's ``__init__`` offers (``import a as a``), in their order."""
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    return [
        alias.asname
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    ]


def show_offers(name: str) -> None:
    """Set ``__all__`` of a package and of those in it: what it offers, and all of its modules."""
    module = importlib.import_module(name)
    inside = [found.name for found in pkgutil.iter_modules(getattr(module, "__path__", []))]
    if not inside:
        return
    offers = list(getattr(module, "__all__", offered_names(module)))
    shown = [one for one in inside if not one.startswith("_")]
    module.__dict__["__all__"] = list(dict.fromkeys([*offers, *shown]))
    for one in shown:
        show_offers(f"{name}.{one}")


def build(packages: list[str], output: Path) -> None:
    """Write the pages of ``packages`` below ``output``.

    Raises:
        ImportError: pdoc or a package is missing.
    """
    import pdoc

    for name in packages:
        show_offers(name)
    pdoc.render.configure(docformat="google", show_source=False, footer_text="lth_det")
    pdoc.pdoc(*packages, output_directory=output)


def main() -> NoReturn:
    """Build what the command line asks for; ends the process."""
    arguments = build_parser().parse_args()
    try:
        build(arguments.packages, arguments.output)
    except ImportError as error:
        sys.stderr.write(f"error: {error}; `make setup` installs what is needed.\n")
        sys.exit(2)
    print(f"API reference: {arguments.output / 'index.html'}")
    sys.exit(0)


if __name__ == "__main__":
    main()
