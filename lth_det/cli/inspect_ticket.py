"""Look at a ticket, compare two, or see what a configuration would prune before a long run."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from lth_det.cli.common import EXIT_OK, run_tool, write_json_option
from lth_det.errors import ConfigError
from lth_det.experiments.overlap_matrix import overlap_matrix, overlap_matrix_text
from lth_det.tickets.inspection import overlap_report, ticket_report, ticket_table
from lth_det.tickets.inspection_text import dry_run_text, overlap_text, ticket_text
from lth_det.tickets.scope import ParameterTable
from lth_det.tickets.serialization import load_ticket, read_manifest
from lth_det.tickets.ticket import Ticket

EXAMPLE = """
examples:
  what would be pruned, where, how many bytes:
    tools/inspect_ticket.py --config-file configs/coco/mask_rcnn_R_18_FPN_imp.yaml --prune-rate 0.8
    tools/inspect_ticket.py --config-file configs/mask_rcnn_imp.yaml --prune-rate 0.9 --groups backbone,fpn --macs
  with the split over groups and layers that trained weights give:
    tools/inspect_ticket.py --config-file F --prune-rate 0.8 MODEL.WEIGHTS outputs/run/round_00/model_final.pth
  a ticket; two tickets or more, their overlap against chance:
    tools/inspect_ticket.py outputs/run/round_01/ticket.safetensors
    tools/inspect_ticket.py A/ticket.safetensors B/ticket.safetensors --json overlap.json
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    parser = argparse.ArgumentParser(
        prog="inspect_ticket.py",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "arguments",
        nargs="*",
        metavar="TICKET | KEY VALUE",
        help="ticket files; with --config-file, changes of the configuration (KEY VALUE ...) after them",
    )
    parser.add_argument("--config-file", metavar="F", help="dry run for this configuration")
    parser.add_argument(
        "--prune-rate",
        metavar="R",
        type=float,
        help="pruned / prunable weights, in [0, 1); default: the last round of the configuration",
    )
    parser.add_argument("--groups", metavar="G,G", help="prune these module groups only")
    parser.add_argument(
        "--preset", choices=("default", "paper"), help="prunable set, as LTH.PRESET"
    )
    parser.add_argument(
        "--macs", action="store_true", help="also count multiply-accumulates (some seconds)"
    )
    parser.add_argument(
        "--json", metavar="PATH", help="write the report as JSON; - for standard output"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Print the report that the arguments ask for, or write it as JSON.

    Raises:
        LthDetError: the input is wrong.
    """
    tickets, options = _split(arguments)
    if tickets:
        report, text = _tickets(tickets, arguments.config_file, options)
    else:
        report, text = _dry_run(arguments, options)
    if arguments.json != "-":
        sys.stdout.write(text)
    if arguments.json:
        write_json_option(arguments.json, report)
    return EXIT_OK


def _split(arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Tell ticket files from KEY VALUE pairs: tickets come first and end in .safetensors or exist."""
    words = list(arguments.arguments)
    tickets: list[str] = []
    while words and (words[0].endswith(".safetensors") or Path(words[0]).is_file()):
        tickets.append(words.pop(0))
    if not tickets and not arguments.config_file:
        named = f"{words[0]} is no ticket file; " if words else ""
        raise ConfigError(f"{named}give one or more ticket files, or --config-file F (see --help).")
    if words and not arguments.config_file:
        raise ConfigError(f"{words[0]} is no ticket file, and KEY VALUE needs --config-file F.")
    if tickets:
        _refuse_dry_run_options(arguments)
    return tickets, words


def _refuse_dry_run_options(arguments: argparse.Namespace) -> None:
    given = {
        "--prune-rate": arguments.prune_rate is not None,
        "--groups": arguments.groups is not None,
        "--preset": arguments.preset is not None,
        "--macs": arguments.macs,
    }
    wrong = [option for option, present in given.items() if present]
    if wrong:
        raise ConfigError(
            f"{', '.join(wrong)} is for a dry run (--config-file), not for ticket files."
        )


def _tickets(
    paths: list[str], config_file: str | None, options: list[str]
) -> tuple[dict[str, Any], str]:
    tickets = [load_ticket(path) for path in paths]
    table = _configured_table(config_file, options) if config_file else None
    reports = [
        _file_facts(path) | ticket_report(ticket, table)
        for path, ticket in zip(paths, tickets, strict=True)
    ]
    if len(reports) == 1:
        return reports[0], ticket_text(reports[0])
    if len(reports) > 2:
        matrix = overlap_matrix({path: Path(path) for path in paths})
        return {"tickets": reports, "overlap": matrix}, overlap_matrix_text(matrix)
    groups: dict[str, str] = {}
    for ticket in reversed(tickets):
        groups |= _groups(ticket, table)
    overlap = overlap_report(tickets[0].mask, tickets[1].mask, groups)
    report = {"tickets": reports, "overlap": overlap}
    return report, overlap_text(report)


def _file_facts(path: str) -> dict[str, Any]:
    return {
        "file": path,
        "file_bytes": Path(path).stat().st_size,
        "sha256": read_manifest(path)["sha256"],
    }


def _groups(ticket: Ticket, table: ParameterTable | None) -> dict[str, str]:
    known = table if table is not None else ticket_table(ticket)
    return {} if known is None else known.group_of


def _configured_table(config_file: str, options: list[str]) -> ParameterTable:
    from lth_det.d2.dry_run import configured_table
    from lth_det.d2.setup_cfg import load_config

    return configured_table(load_config(config_file, options))


def _dry_run(arguments: argparse.Namespace, options: list[str]) -> tuple[dict[str, Any], str]:
    rate = arguments.prune_rate
    if rate is not None and not 0 <= rate < 1:  # false for NaN
        raise ConfigError(f"--prune-rate is {rate}, but a prune rate lies in [0, 1).")
    from lth_det.d2.dry_run import dry_run
    from lth_det.d2.setup_cfg import load_config

    overrides = ["MODEL.DEVICE", "cpu"]
    if arguments.preset:
        overrides += ["LTH.PRESET", arguments.preset]
    if rate is not None:
        overrides += [
            "LTH.PRUNE_RATE",
            repr(rate),
            "LTH.PRUNE_RATE_PER_ROUND",
            "0.0",
            "LTH.TARGETS",
            "()",
        ]
    if len(options) % 2 == 0:  # else load_config names the key without a value
        options = [*options, *overrides]
    cfg = load_config(arguments.config_file, options)
    groups = None if arguments.groups is None else _names(arguments.groups)
    report = dry_run(cfg, groups=groups, macs=arguments.macs)
    report = {"config_file": arguments.config_file, **report}
    return report, dry_run_text(report)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point of ``tools/inspect_ticket.py``; ends the process with 0, 1 or 2."""
    # Detectron2 0.6 on current torch; nothing that the reader of a report can do about.
    for message in (".*torch.jit.*", "torch.meshgrid.*"):
        warnings.filterwarnings("ignore", message=message)
    run_tool(lambda: run(build_parser().parse_intermixed_args(argv)))
