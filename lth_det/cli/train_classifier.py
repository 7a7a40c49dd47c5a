"""Find lottery tickets of a classifier, make a random one trainable (method rst), or transfer tickets to another task."""

import argparse
import logging
import sys
from typing import Any

from lth_det.cli.common import EXIT_OK, run_tool, write_json_option

EXAMPLE = """
examples:
  tools/train_classifier.py --config-file configs/classify/shapes_cls_imp.yaml
  tools/train_classifier.py --config-file configs/classify/imagenet_resnet50_imp.yaml --dry-run
  tools/train_classifier.py --config-file configs/classify/shapes_cls_rst.yaml
  tools/train_classifier.py --config-file configs/classify/mehta_shapes.yaml
  tools/train_classifier.py --config-file configs/classify/cifar10_resnet18_imp.yaml --resume data.root /data/cifar10 \\
      pruning.targets "(0.5, 0.8)" output output/cifar10

Finished stages are skipped when the same command is run again; --resume also goes on inside an unfinished stage.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    parser = argparse.ArgumentParser(
        prog="train_classifier.py",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", metavar="F", required=True, help="YAML file")
    parser.add_argument(
        "--resume", action="store_true", help="go on inside an unfinished stage too"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print what would be pruned and where the data is expected; needs no data",
    )
    parser.add_argument(
        "--json", metavar="PATH", help="write the results as JSON; - for standard output"
    )
    parser.add_argument(
        "options", nargs="*", metavar="KEY VALUE", help="changes, such as solver.max_iter 100"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Do what the arguments ask for.

    Raises:
        LthDetError: the input is wrong.
    """
    from lth_det.classify.config_file import load_config
    from lth_det.classify.dry_run import dry_run, dry_run_text
    from lth_det.reports.terminal import rounds_text

    config = load_config(arguments.config_file, arguments.options)
    if arguments.dry_run:
        report: dict[str, Any] = dry_run(config)
        text = dry_run_text(report)
    else:
        logging.basicConfig(format="[%(asctime)s] %(message)s", datefmt="%m/%d %H:%M:%S")
        logging.getLogger("lth_det").setLevel(logging.INFO)
        if config.transfer.enabled:
            from lth_det.classify.transfer_run import run_transfer
            from lth_det.classify.transfer_table import transfer_text

            report = run_transfer(config, resume=arguments.resume)
            text = transfer_text(report)
        else:
            from lth_det.classify.run import run_classifier

            report = run_classifier(config, resume=arguments.resume)
            text = rounds_text(report) + "\n"
    if arguments.json != "-":
        sys.stdout.write(text)
    if arguments.json:
        write_json_option(arguments.json, report)
    return EXIT_OK


def main() -> None:
    """Entry point of ``tools/train_classifier.py`` and ``lth-train-classifier``."""
    run_tool(lambda: run(build_parser().parse_intermixed_args()))
