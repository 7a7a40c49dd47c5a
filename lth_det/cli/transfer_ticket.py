"""Make a ticket of a detector out of a classifier's ticket, another detector's, or a dense or sparse checkpoint."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from lth_det.cli.common import EXIT_OK, run_tool, write_json_option
from lth_det.errors import ConfigError

EXAMPLE = """
examples:
  the ticket of a classifier, with its trained weights, for the detector of the configuration:
    tools/transfer_ticket.py --config-file configs/mask_rcnn_imp.yaml --kind ticket \\
      --source outputs/classify/round_01 --output outputs/tickets/classifier.safetensors
  the mask of a keypoint detector (all but its task head) for a mask detector, which starts from its own initialisation:
    tools/transfer_ticket.py --config-file configs/mask_rcnn_imp.yaml --kind mask \\
      --source outputs/keypoints/round_01/ticket.safetensors --output outputs/tickets/keypoints.safetensors
  the largest 20 % of the backbone's dense ImageNet weights:
    tools/transfer_ticket.py --config-file configs/coco/mask_rcnn_R_18_FPN_imp.yaml --kind magnitude --prune-rate 0.8 \\
      --source resnet18-5c106cde.pth --output outputs/tickets/magnitude.safetensors
  the zeros of a sparse checkpoint (AC/DC, WoodFisher, RigL, STR), with its pre-processing and stride set right:
    tools/transfer_ticket.py --config-file configs/coco/mask_rcnn_R_50_FPN_imp.yaml --kind checkpoint --fix \\
      --source resnet50_sparse.pth --output outputs/tickets/acdc.safetensors
  then train it:
    tools/train_net.py --config-file configs/mask_rcnn_imp.yaml LTH.TICKET outputs/tickets/classifier.safetensors

docs/transfer.md describes every source, what moves and what does not.
"""
ALL_GROUPS = "all"
_KINDS = ("ticket", "mask", "magnitude", "checkpoint")


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    parser = argparse.ArgumentParser(
        prog="transfer_ticket.py",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("options", nargs="*", metavar="KEY VALUE", help="changes of the configuration")
    add("--config-file", metavar="F", required=True, help="the target detector")
    add("--source", metavar="PATH", required=True, help="ticket, folder of a stage, or checkpoint")
    add(
        "--kind",
        choices=_KINDS,
        required=True,
        help="ticket: mask and weights; mask: the mask alone; magnitude: the largest dense weights; checkpoint: the "
        "zeros of a sparse checkpoint are its mask",
    )
    add("--output", metavar="T.safetensors", required=True, help="the ticket to write")
    add(
        "--prune-rate",
        metavar="R",
        type=float,
        help="pruned / weights of the mask, in [0, 1); needed by magnitude, else prunes on top by magnitude",
    )
    add(
        "--weights",
        metavar="source|target|FILE",
        help="start values: the source's, the target's own initialisation, or a rewind.safetensors, ticket or checkpoint "
        "of the target (default: source; with --kind mask target)",
    )
    add(
        "--source-weights",
        metavar="FILE",
        help="checkpoint of the source network whose values replace the ticket's rewind weights",
    )
    add(
        "--groups",
        metavar="G,G",
        help="module groups that move, and that alone are prunable; all: every group moves, and what is prunable is left "
        "to the configuration, as in a run of its own",
    )
    add(
        "--scope",
        choices=("global", "uniform", "erk"),
        default="global",
        help="which magnitudes compete, with --prune-rate",
    )
    add(
        "--source-preprocessing",
        metavar="NAME|JSON",
        help="torchvision, msra, target, or JSON, where the source does not say (or says something wrong)",
    )
    add(
        "--preset",
        choices=("default", "paper"),
        help="prunable set as LTH.PRESET; default also means --fix, and paper accepts a mismatch of the input as the "
        "predecessor did",
    )
    add("--fix", action="store_true", help="have the ticket demand the options that fit its input")
    add(
        "--fold-preprocessing",
        action="store_true",
        help="rewrite the first convolution for the target's channel order and deviation",
    )
    add("--seed", metavar="N", type=int, help="of what the source lacks (default: SEED)")
    add("--json", metavar="PATH", help="write the report as JSON; - for standard output")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Make the ticket, write it, and print or write the report.

    Raises:
        LthDetError: the input is wrong.
    """
    from lth_det.d2.setup_cfg import load_config
    from lth_det.d2.transfer import transfer_target
    from lth_det.env import package_versions
    from lth_det.tickets.serialization import save_ticket
    from lth_det.transfer.compose import TransferRequest, transfer
    from lth_det.transfer.report import transfer_report, transfer_text
    from lth_det.transfer.source import read_source

    policy = _policy(arguments)
    if arguments.seed is not None and arguments.seed < 0:
        raise ConfigError(f"--seed is {arguments.seed}; give a number of at least 0.")
    source = read_source(arguments.source, arguments.kind, weights_from=arguments.source_weights)
    overrides = ["LTH.PRESET", arguments.preset] if arguments.preset else []
    cfg = load_config(arguments.config_file, [*arguments.options, *overrides])
    groups = _names(arguments.groups)
    everything = groups is not None and list(groups) == [ALL_GROUPS]
    target = transfer_target(cfg, seed=arguments.seed, groups=None if everything else groups)
    if everything:
        groups = list(dict.fromkeys(target.groups.values()))
    source = _with_preprocessing(source, target, arguments.source_preprocessing)
    request = TransferRequest(
        groups=groups,
        prune_rate=arguments.prune_rate,
        scope=arguments.scope,
        weights=arguments.weights,
        policy=policy,
        versions=package_versions(),
    )
    done = transfer(source, target, request)
    digest = save_ticket(arguments.output, done.ticket)
    report = transfer_report(done, source, target)
    report |= {
        "config_file": arguments.config_file,
        "ticket": arguments.output,
        "ticket_sha256": digest,
    }
    if arguments.json != "-":
        sys.stdout.write(transfer_text(report, done))
        sys.stdout.write(f"\n{arguments.output} written (sha256 {digest[:16]})\n")
    if arguments.json:
        write_json_option(arguments.json, report)
    return EXIT_OK


def _policy(arguments: argparse.Namespace) -> str:
    wanted = {
        "fix": arguments.fix
        or (arguments.preset == "default" and not arguments.fold_preprocessing),
        "fold": arguments.fold_preprocessing,
        "accept": arguments.preset == "paper",
    }
    chosen = [name for name, present in wanted.items() if present]
    if len(chosen) > 1:
        raise ConfigError(
            "--fix, --fold-preprocessing and --preset paper exclude each other; give one of them."
        )
    return chosen[0] if chosen else "refuse"


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _with_preprocessing(source: Any, target: Any, text: str | None) -> Any:
    import dataclasses

    from lth_det.transfer.preprocessing import NAMED, InputFacts, Preprocessing

    if text is None:
        return source
    option = "--source-preprocessing"
    if text == "target":
        facts = dataclasses.replace(target.inputs, origin=option)
    elif text in NAMED:
        facts = InputFacts(NAMED[text], text == "msra", option)
    else:
        found = Preprocessing.from_json(text, option)
        facts = InputFacts(found, source.inputs.stride_in_1x1, option)
    return dataclasses.replace(source, inputs=facts)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point of ``tools/transfer_ticket.py``; ends the process with 0, 1 or 2."""
    for message in (".*torch.jit.*", "torch.meshgrid.*"):
        warnings.filterwarnings("ignore", message=message)
    run_tool(lambda: run(build_parser().parse_intermixed_args(argv)))
