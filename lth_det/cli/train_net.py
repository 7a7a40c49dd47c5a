"""Train detectors and find their lottery tickets; Detectron2's command line."""

import argparse
import os
from typing import Any

from lth_det.cli.common import EXIT_OK, leave_at_once, run_tool
from lth_det.errors import ConfigError

EXAMPLE = """
examples:
  tools/train_net.py --config-file configs/mask_rcnn_imp.yaml
  tools/train_net.py --config-file configs/mask_rcnn_imp.yaml --resume LTH.TARGETS "(0.8, 0.95)" OUTPUT_DIR output/two
  tools/train_net.py --config-file configs/mask_rcnn_imp.yaml LTH.TICKET output/.../ticket.safetensors OUTPUT_DIR output/x
  tools/train_net.py --config-file configs/coco/mask_rcnn_R_50_FPN_imp.yaml --num-gpus 8
  tools/train_net.py --config-file configs/mask_rcnn_imp.yaml --eval-only MODEL.WEIGHTS output/.../model_final.pth

Finished stages are skipped when the same command is run again; --resume also goes on inside an unfinished stage.
With LTH.ENABLED False this is plain Detectron2 training.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return Detectron2's own argument parser with our examples."""
    from detectron2.engine import default_argument_parser

    parser: argparse.ArgumentParser = default_argument_parser(epilog=EXAMPLE)
    parser.description = "Train a detector and find its lottery tickets (LTH.* keys of the config)."
    return parser


def run(arguments: Any) -> int:
    """Check the input, then train or evaluate on the processes that the arguments ask for."""
    from lth_det.d2.distributed import is_torchrun, run_under_torchrun
    from lth_det.d2.launching import launch_with_sentences
    from lth_det.d2.preflight import check_gpus
    from lth_det.d2.run import prepare, train_or_evaluate

    if is_torchrun():
        run_under_torchrun(
            lambda: prepare(arguments), lambda cfg: train_or_evaluate(arguments, cfg)
        )
        return EXIT_OK
    check_gpus(arguments.num_gpus, arguments.num_machines)
    cfg = prepare(arguments)
    launch_with_sentences(
        train_or_evaluate,
        arguments.num_gpus,
        args=(arguments, cfg),
        num_machines=arguments.num_machines,
        machine_rank=arguments.machine_rank,
        dist_url=arguments.dist_url,
    )
    return EXIT_OK


def main() -> None:
    """Entry point of ``tools/train_net.py`` and ``lth-train-net``."""

    def body() -> int:
        arguments = build_parser().parse_args()
        if not arguments.config_file:
            raise ConfigError(
                "--config-file is missing; for example configs/mask_rcnn_imp.yaml (see --help)."
            )
        return run(arguments)

    try:
        run_tool(body)
    except SystemExit as stop:
        # torchrun's variables, asked without importing torch: a mistake in the arguments gets here too.
        if isinstance(stop.code, int) and {"RANK", "LOCAL_RANK", "WORLD_SIZE"} <= os.environ.keys():
            leave_at_once(stop.code)
        raise
