"""Write a trained ticket as a compact checkpoint (kept weights + mask), and restore the exact dense checkpoint from it."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from lth_det.cli.common import EXIT_OK, run_tool, write_json_option
from lth_det.cli.export_source import Source, files_source, run_source
from lth_det.errors import ConfigError
from lth_det.export.compact import DTYPES, restored_state, save_compact
from lth_det.export.compact_reader import CompactCheckpoint, is_compact, load_compact
from lth_det.export.sizes import file_facts, storage_sizes
from lth_det.io import atomic_path
from lth_det.tickets.serialization import weights_sha256

EXAMPLE = """
examples:
  the last round of a run; another round, in half precision:
    tools/export_ticket.py outputs/mask_rcnn_imp --output mask_rcnn_79.safetensors
    tools/export_ticket.py outputs/mask_rcnn_imp --round 1 --dtype float16 --output small.safetensors
  trained weights and the ticket they were trained under:
    tools/export_ticket.py --weights model_final.pth --ticket ticket.safetensors --output compact.safetensors
  a smaller network without the channels that died; backbone and pyramid for onnxruntime:
    tools/export_ticket.py RUN --config-file configs/mask_rcnn_imp.yaml --remove-channels --output narrow.safetensors
    tools/export_ticket.py RUN --config-file configs/mask_rcnn_imp.yaml --output c.safetensors --onnx features.onnx
  back to the dense checkpoint, for Detectron2's --eval-only MODEL.WEIGHTS; what a file holds:
    tools/export_ticket.py compact.safetensors --restore model_final.pth
    tools/export_ticket.py compact.safetensors
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    parser = argparse.ArgumentParser(
        prog="export_ticket.py",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        nargs="?",
        metavar="RUN | COMPACT",
        help="a run folder (with results.json), or a compact checkpoint to restore or look at",
    )
    parser.add_argument(
        "--round", type=int, metavar="N", help="round of the run; default: the last"
    )
    parser.add_argument("--weights", metavar="PTH", help="trained weights, instead of a run")
    parser.add_argument(
        "--ticket",
        metavar="T",
        help="the ticket they were trained under; alone: export the ticket's own start values",
    )
    parser.add_argument("--output", metavar="OUT", help="the compact checkpoint to write")
    parser.add_argument(
        "--dtype",
        choices=tuple(DTYPES),
        help="dtype of kept weights and of other tensors of 2 and more dimensions; default: same, which is exact",
    )
    detector = parser.add_argument_group("of a detector (needs Detectron2)")
    detector.add_argument(
        "--config-file", metavar="F", help="the configuration it was trained with"
    )
    detector.add_argument(
        "--remove-channels",
        action="store_true",
        help="cut out channels that no longer matter; outputs stay equal, shapes do not: load the result with "
        "lth_det.d2.export.load_compact_detector",
    )
    detector.add_argument(
        "--onnx", metavar="ONNX", help="also write backbone and feature pyramid, and check them"
    )
    parser.add_argument(
        "opts", nargs="*", metavar="KEY VALUE", help="changes of the configuration, last"
    )
    parser.add_argument(
        "--restore", metavar="PTH", help="write the dense checkpoint that COMPACT holds"
    )
    parser.add_argument(
        "--json", metavar="PATH", help="write the facts as JSON; - for standard output"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Export, restore or describe, as the arguments say.

    Raises:
        LthDetError: the input is wrong.
    """
    facts = _export(arguments) if arguments.output else _restore(arguments)
    if arguments.json != "-":
        sys.stdout.write(facts_text(facts))
    if arguments.json:
        write_json_option(arguments.json, facts)
    return EXIT_OK


def _export(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.restore:
        raise ConfigError("--output exports and --restore restores; give one of them.")
    dtype = arguments.dtype or "same"
    source, detector_facts = _of_detector(arguments, _source(arguments))
    about = source.about | {"values": dtype}
    save_compact(arguments.output, source.state, source.mask, dtype=dtype, about=about)
    # Read back and compared: a file that is written is a file that restores.
    content = load_compact(arguments.output)
    facts = _facts(arguments.output, content)
    facts["exact"] = dtype == "same"
    expected = restored_state(source.state, source.mask, dtype=dtype)
    # The hash is over names, dtypes, shapes and bytes.
    if weights_sha256(content.state) != weights_sha256(expected):
        raise RuntimeError(f"{arguments.output} does not restore what was exported.")
    facts |= detector_facts
    return facts


def _of_detector(arguments: argparse.Namespace, source: Source) -> tuple[Source, dict[str, Any]]:
    """Do what needs the configuration: remove channels, write ONNX."""
    facts: dict[str, Any] = {}
    if not (arguments.remove_channels or arguments.onnx):
        return source, facts
    if not arguments.config_file:
        raise ConfigError("--remove-channels and --onnx need --config-file F.")
    from lth_det.d2.export import export_features, without_dead_channels
    from lth_det.d2.setup_cfg import load_config

    cfg = load_config(arguments.config_file, ["MODEL.WEIGHTS", "", *arguments.opts])
    if arguments.remove_channels:
        reduced = without_dead_channels(cfg, source.state, source.mask)
        removed = sum(removal.channels - len(removal.kept) for removal in reduced.removals)
        facts["channels"] = {
            "considered": sum(removal.channels for removal in reduced.removals),
            "removed": removed,
            "constant": sum(removal.constant for removal in reduced.removals),
            "parameters_before": sum(value.numel() for value in source.state.values()),
            "parameters": sum(value.numel() for value in reduced.state.values()),
            "layers": [dataclasses.asdict(removal) for removal in reduced.removals],
        }
        source = Source(
            reduced.state, reduced.mask, source.about | {"channels_removed": str(removed)}
        )
    if arguments.onnx:
        report = export_features(cfg, source.state, arguments.onnx)
        facts["onnx"] = {"file": arguments.onnx, **dataclasses.asdict(report)}
    return source, facts


def _source(arguments: argparse.Namespace) -> Source:
    if arguments.source is None:
        if arguments.round is not None:
            raise ConfigError("--round needs a run folder.")
        return files_source(arguments.weights, arguments.ticket)
    if arguments.weights or arguments.ticket:
        raise ConfigError(
            f"Give the run {arguments.source}, or --weights and --ticket, but not both."
        )
    return run_source(Path(arguments.source), arguments.round)


def _restore(arguments: argparse.Namespace) -> dict[str, Any]:
    path = arguments.source
    if path is None or Path(path).is_dir() or not is_compact(path):
        raise ConfigError(
            "Give --output OUT to export, or a compact checkpoint to restore or look at (see --help)."
        )
    unused = ("round", "weights", "ticket", "dtype", "config_file", "remove_channels", "onnx")
    wrong = [f"--{name.replace('_', '-')}" for name in unused if getattr(arguments, name)]
    if wrong:
        raise ConfigError(f"{', '.join(wrong)} is for exporting, which needs --output OUT.")
    content = load_compact(path)
    facts = _facts(path, content)
    if arguments.restore:
        with atomic_path(arguments.restore) as temporary:
            torch.save({"model": content.state}, temporary)
        facts["restored"] = arguments.restore
    return facts


def _facts(path: str, content: CompactCheckpoint) -> dict[str, Any]:
    values = content.manifest["about"].get("values", "same")
    dtype = DTYPES.get(values)
    sizes = storage_sizes(
        content.state, content.mask, value_bytes=None if dtype is None else dtype.itemsize
    )
    facts = file_facts(path, content.manifest, sizes)
    facts["kept"], facts["masked"] = content.mask.kept, content.mask.numel
    return facts


def facts_text(facts: dict[str, Any]) -> str:
    """Return the facts of a compact checkpoint as text."""
    rows = [
        ("this file", facts["bytes"]),
        ("least possible (entropy of the mask + values)", facts["bound_bytes"]),
        ("packed mask bits + values", facts["packed_mask_bytes"]),
        ("32-bit indices + values", facts["index_and_value_bytes"]),
        ("dense values", facts["dense_bytes"]),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name.ljust(width)}  {size:>13,} bytes" for name, size in rows]
    over = facts["over_bound"]
    lines.append(
        f"{facts['times_smaller']:.2f} times smaller than dense"
        + ("" if over is None else f", {100 * over:.1f} % over the least possible")
        + f"; {facts['kept']:,} of {facts['masked']:,} masked weights are kept."
    )
    lines += [f"{name}: {text}" for name, text in sorted(facts["about"].items())]
    if "channels" in facts:
        found = facts["channels"]
        lines.append(
            f"{found['removed']:,} of {found['considered']:,} channels between layers removed ({found['constant']:,} without "
            f"weights stay: their constant cannot move), {found['parameters']:,} of {found['parameters_before']:,} values left."
        )
    if "onnx" in facts:
        found = facts["onnx"]
        lines.append(
            f"{found['file']}: {found['bytes']:,} bytes, {found['zeros']:,} of {found['weights']:,} weights are zero; "
            f"onnxruntime's outputs differ by {found['largest_difference']:.1e} at most. Zeros make it no faster."
        )
    if "restored" in facts:
        lines.append(f"The dense checkpoint is in {facts['restored']}.")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point of ``tools/export_ticket.py``; ends the process with 0, 1 or 2."""
    run_tool(lambda: run(build_parser().parse_intermixed_args(argv)))
