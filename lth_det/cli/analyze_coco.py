"""AP of detectors by object size, class frequency and difficulty, and what a ticket changes, from COCO result files."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lth_det.analysis.analyze import analyze
from lth_det.analysis.columns import IOU_TYPES
from lth_det.analysis.inputs import ModelInfo
from lth_det.analysis.options import Options
from lth_det.analysis.run_input import RunInput, read_run
from lth_det.cli import analyze_options
from lth_det.cli.analyze_text import analysis_text
from lth_det.cli.common import EXIT_OK, run_tool, write_json_option
from lth_det.errors import InputError
from lth_det.io import atomic_write_json

EXIT_LOSING = 3
EXAMPLE = """
examples:
  one model:
    tools/analyze_coco.py --gt instances_val2017.json --dt dense=coco_instances_results.json
  a ticket against dense, class frequency from the training set, page and tables in out/report:
    tools/analyze_coco.py --gt val.json --train-gt train.json --dt dense=A.json --dt ticket=B.json --output out
  several seeds of each model; difficulty ranked by a further dense run:
    tools/analyze_coco.py --gt val.json --dt dense=d1.json,d2.json,d3.json --dt t80=s1.json,s2.json,s3.json \\
        --dt dense_b=d4.json --difficulty-from dense_b
  all rounds of a run of train_net.py:
    tools/analyze_coco.py --run outputs/mask_rcnn_imp --output outputs/mask_rcnn_imp/analysis

Results are COCO lists as Detectron2 writes them (coco_instances_results.json). AP in JSON is 0-1, in the table 0-100.
Exit code: 0 done, 2 the input was wrong, 3 a model is losing and --fail-on-losing was given.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    parser = argparse.ArgumentParser(
        prog="analyze_coco.py",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    files = parser.add_argument_group("input")
    files.add_argument("--gt", metavar="G", help="ground truth, COCO or LVIS annotations")
    files.add_argument(
        "--dt",
        metavar="NAME=R",
        action="append",
        default=[],
        help="results of a model; R may be several files joined by commas, or NAME repeated: seeds of one model",
    )
    files.add_argument("--run", metavar="DIR", help="analyse all rounds of a run folder of ours")
    files.add_argument("--train-gt", metavar="T", help="training annotations, for class frequency")
    files.add_argument(
        "--attribute",
        metavar="NAME=F",
        action="append",
        default=[],
        help="a further attribute: JSON file {annotation id: label}",
    )
    files.add_argument("--image-root", metavar="DIR", help="images, for pictures of lost objects")
    out = parser.add_argument_group("output")
    out.add_argument("--output", metavar="DIR", help="write analysis.json and the report here")
    out.add_argument("--json", metavar="PATH", help="write the JSON; - for standard output")
    out.add_argument("--fail-on-losing", action="store_true", help="exit code 3 if a model loses")
    add("--reference", metavar="NAME", help="compare with this model; default: the first")
    add("--difficulty-from", metavar="NAME", help="rank classes by this other dense run")
    add(
        "--iou-type", nargs="+", action="extend", default=[], choices=IOU_TYPES, help="default: all"
    )
    analyze_options.add_arguments(parser)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Analyse, print the table, write what was asked for; return the exit code.

    Raises:
        LthDetError: the input is wrong.
    """
    folder = read_run(arguments.run) if arguments.run else None
    truth, results, info, image_root = _inputs(arguments, folder)
    options = Options(
        iou_types=tuple(arguments.iou_type),
        reference=arguments.reference,
        difficulty_from=arguments.difficulty_from,
        **analyze_options.values(arguments),
    )
    train = arguments.train_gt or (folder.train if folder else None)
    result = analyze(truth, results, train=train, options=options, info=info)
    value = result.to_dict()
    if folder is not None:
        value["warnings"] = [*folder.notes, *value["warnings"]]
    if arguments.json != "-":
        sys.stdout.write(analysis_text(value))
    if arguments.json:
        write_json_option(arguments.json, value)
    if arguments.output:
        page = _write(value, Path(arguments.output), image_root)
        sys.stderr.write(f"Report: {page}\n")
    losing = any(c["verdict"] == "losing" for c in value["comparisons"])
    return EXIT_LOSING if arguments.fail_on_losing and losing else EXIT_OK


def _inputs(
    arguments: argparse.Namespace, folder: RunInput | None
) -> tuple[str, dict[str, Any], Mapping[str, ModelInfo], str | None]:
    results: dict[str, Any] = dict(folder.results) if folder else {}
    own: dict[str, list[str]] = {}
    for item in arguments.dt:
        name, separator, path = item.partition("=")
        if not separator or not name or not path:
            raise InputError(f"--dt {item}: write NAME=FILE, such as dense=results.json.")
        own.setdefault(name, []).extend([path] if Path(path).exists() else path.split(","))
    for name, files in own.items():
        if name in results:
            raise InputError(f"--dt {name}: the run has a model of this name; choose another.")
        results[name] = files
    truth = arguments.gt or (folder.ground_truth if folder else None)
    if truth is None:
        raise InputError("--gt: give the ground truth, or a run folder with --run.")
    image_root = arguments.image_root or (folder.image_root if folder else None)
    return truth, results, folder.info if folder else {}, image_root


def _write(value: Mapping[str, Any], folder: Path, image_root: str | None) -> Path:
    from lth_det.reports.analysis_report import write_analysis_report

    atomic_write_json(folder / "analysis.json", value)
    return write_analysis_report(value, folder, image_root=image_root)


def main() -> None:
    """Entry point of ``tools/analyze_coco.py`` and ``lth-analyze-coco``."""
    run_tool(lambda: run(build_parser().parse_args()))
