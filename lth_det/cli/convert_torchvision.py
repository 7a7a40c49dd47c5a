"""Convert a torchvision ResNet checkpoint into a file for MODEL.WEIGHTS of the detectors in configs/."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from lth_det.cli.common import EXIT_OK, run_tool

EXAMPLE = """
example:
  tools/convert_torchvision.py resnet18-5c106cde.pth datasets/weights/resnet18.pth
  tools/train_net.py --config-file configs/coco/mask_rcnn_R_18_FPN_imp.yaml MODEL.WEIGHTS datasets/weights/resnet18.pth

The files are listed at https://pytorch.org/vision/stable/models/resnet.html. Use them with RGB images and ImageNet
statistics (the configurations of ResNet-18 and of VOC do).
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    parser = argparse.ArgumentParser(
        prog="convert_torchvision.py",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="checkpoint of a torchvision ResNet (.pth)")
    parser.add_argument("target", help="file to write (.pth)")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Convert the file.

    Raises:
        LthDetError: it cannot be read or written.
    """
    from lth_det.d2.torchvision_weights import convert_file

    count = convert_file(arguments.source, arguments.target)
    sys.stdout.write(f"{count} tensors written; use them with MODEL.WEIGHTS {arguments.target}\n")
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point of ``tools/convert_torchvision.py``."""
    warnings.filterwarnings("ignore", message=".*torch.jit.*")
    run_tool(lambda: run(build_parser().parse_args(argv)))
