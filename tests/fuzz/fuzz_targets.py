"""The readers of files that come from other people, each as a function of the file's bytes, with valid files to begin from."""

import copy
import dataclasses
import functools
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import fuzz_mutate
import fuzz_watch
import numpy as np
import torch

from lth_det.analysis.analyze import analyze
from lth_det.analysis.backends import get_backend
from lth_det.analysis.coco_io import read_ground_truth
from lth_det.analysis.options import Options
from lth_det.analysis.results_io import KEY_OF, detections_of, load_results
from lth_det.analysis.run_input import read_run as read_run_input
from lth_det.errors import LthDetError
from lth_det.experiments.run_dir import RunDir
from lth_det.io import to_json
from lth_det.reports.run_data import read_run as read_run_results
from lth_det.tickets import Mask, Provenance, Ticket, load_ticket, save_ticket
from lth_det.tickets.serialization import read_manifest, ticket_sha256

# Here, where nothing is watched: on a new machine the first use runs the C compiler and writes its cache.
with suppress(LthDetError):
    get_backend("compiled")

_QUICK = Options(replicates=0, errors=True, crosses=(("size", "frequency"),))


@dataclasses.dataclass(frozen=True)
class Target:
    """One reader: what it does with a file, how valid files are changed, and valid files."""

    read: Callable[[bytes], None]
    change: fuzz_mutate.Mutator
    seeds: Callable[[], list[bytes]]


@contextmanager
def as_file(data: bytes) -> Iterator[str]:
    """Give ``data`` the path of a file that is only in memory."""
    descriptor = os.memfd_create("fuzz")
    try:
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


# --- tickets ------------------------------------------------------------------------------------------------------


def read_ticket(data: bytes) -> None:
    """Read a ticket; what is accepted has the hash it states, and its manifest can be read alone."""
    with as_file(data) as path:
        ticket = load_ticket(path)
        stated = read_manifest(path)
    if ticket_sha256(ticket) != stated["sha256"]:
        raise AssertionError("the ticket does not have the hash of its file")
    if ticket.weights is not None and not all(
        isinstance(value, torch.Tensor) for value in ticket.weights.values()
    ):
        raise AssertionError("a weight is not a tensor")
    repr(ticket.mask)


def read_only_manifest(data: bytes) -> None:
    """Read the manifest of a ticket."""
    with as_file(data) as path:
        read_manifest(path)


@functools.cache
def ticket_seeds() -> list[bytes]:
    """Return small valid tickets: with and without weights, several dtypes, an empty and a scalar parameter."""
    generator = torch.Generator().manual_seed(1)
    mask = Mask(
        {
            "fc.weight": torch.rand((2, 3), generator=generator) > 0.5,
            "conv.weight": torch.rand((2, 1, 3, 3), generator=generator) > 0.5,
            "none": torch.ones((0, 4), dtype=torch.bool),
            "one": torch.ones((), dtype=torch.bool),
        }
    )
    weights = {
        "fc.weight": torch.randn((2, 3), generator=generator),
        "half": torch.randn(5, generator=generator).to(torch.bfloat16),
        "count": torch.tensor(7),
        "flag": torch.tensor([True, False]),
        "none": torch.zeros((0, 4)),
        "conv.weight": torch.randn((2, 1, 3, 3), generator=generator),
        "one": torch.tensor(2.5, dtype=torch.float64),
    }
    facts = Provenance(
        criterion="magnitude", scope="global", prune_rate=0.5, prune_rates_by_group={"backbone": 0.5}, sparsity=0.4,
        round=2, parent_sha256=None, source_task="shapes", source_weights="model.pth", seed=1, rewind="iteration 60",
        versions={"torch": "2"}, extra={"architecture": "narrow_resnet"},
    )  # fmt: skip
    contents = (
        Ticket(mask, weights, facts),
        Ticket(mask, None, facts),
        Ticket(Mask({}), {}, facts),
    )
    return [_saved(content) for content in contents]


def _saved(ticket: Ticket) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ticket.safetensors"
        save_ticket(path, ticket)
        return path.read_bytes()


# --- annotations and results --------------------------------------------------------------------------------------


def _truth(kind: str) -> dict[str, object]:
    masks = [
        [[2.0, 2.0, 20.0, 2.0, 20.0, 18.5, 2.0, 18.0]],
        {"size": [40, 60], "counts": [10, 5, 2385]},
        {"size": [40, 60], "counts": ":5\\9?Ug1"},
        [[1.0, 1.0, 30.0, 1.0, 15.5, 30.0], [40, 10, 50, 10, 50, 30]],
    ]
    points = [10.0, 10.0, 2, 12.0, 14.5, 1, 0, 0, 0]
    annotations = []
    for number in range(4):
        annotation: dict[str, object] = {
            "id": number + 1, "image_id": 3 + number % 2, "category_id": 1 + number % 2,
            "bbox": [2.0 + number, 3.0, 18.0, 15.5], "area": 250.0 + number, "iscrowd": int(number == 3),
        }  # fmt: skip
        if kind == "segm":
            annotation["segmentation"] = masks[number]
        elif kind == "keypoints":
            annotation |= {"keypoints": points, "num_keypoints": 2}
        annotations.append(annotation)
    categories: list[dict[str, object]] = [{"id": 1, "name": "disc"}, {"id": 2, "name": "ring"}]
    if kind == "keypoints":
        for category in categories:
            category |= {"keypoints": ["a", "b", "c"], "sigmas": [0.05, 0.1, 0.1]}
    images: list[dict[str, object]] = [
        {"id": 3 + i, "width": 60, "height": 40, "file_name": f"{i}.png"} for i in range(2)
    ]
    if kind == "lvis":
        images[0] |= {"neg_category_ids": [2], "not_exhaustive_category_ids": [1]}
        categories[0] |= {"frequency": "r", "image_count": 3, "instance_count": 5}
    return {"images": images, "categories": categories, "annotations": annotations}


def _results(kind: str) -> list[dict[str, object]]:
    masks = [{"size": [40, 60], "counts": ":5\\9?Ug1"}, {"size": [40, 60], "counts": [10, 5, 2385]}]
    results = []
    for number in range(5):
        result: dict[str, object] = {
            "image_id": 3 + number % 2, "category_id": 1 + number % 2, "score": 0.9 - 0.15 * number,
        }  # fmt: skip
        if kind == "segm":
            result["segmentation"] = masks[number % 2]
        else:
            result["bbox"] = [2.0 + number, 3.0, 18.0, 15.0]
        if kind == "keypoints":
            result["keypoints"] = [10.0, 10.0, 0.9, 12.0, 14.0, 0.8, 5.0, 6.0, 0.1]
        results.append(result)
    return results


KINDS = ("bbox", "segm", "keypoints", "lvis")


def read_truth(data: bytes) -> None:
    """Read an annotation file; names that it gives can be printed."""
    with as_file(data) as path:
        truth = read_ground_truth(path)
    for text in (*truth.categories.names, *truth.images.names, *truth.notes):
        text.encode()


def truth_seeds() -> list[bytes]:
    """Return one valid annotation file of every kind."""
    return [json.dumps(_truth(kind)).encode() for kind in KINDS]


@functools.cache
def _known_truths() -> list[object]:
    return [read_ground_truth(copy.deepcopy(_truth(kind))) for kind in ("segm", "keypoints")]


def read_results(data: bytes) -> None:
    """Read a result file with both back ends, for every IoU type; they must agree about plain files."""
    columns: list[tuple[np.ndarray, ...] | None] = []
    with as_file(data) as path:
        for name in ("numpy", "compiled"):
            columns.append(None)
            try:
                loaded = load_results(path, name="a", backend=get_backend(name))
                for truth in _known_truths():
                    for iou_type in KEY_OF:
                        found = _detections(loaded, truth, iou_type)
                        if found is not None and iou_type == "bbox":
                            columns[-1] = (found.image, found.category, found.score, found.box)
            except LthDetError:
                continue
    _require_agreement(columns)
    if columns[0] is None:
        raise LthDetError("refused")


def _detections(loaded, truth, iou_type):
    try:
        return detections_of(loaded, truth, iou_type=iou_type)
    except LthDetError:
        return None


def _require_agreement(columns: list[tuple[np.ndarray, ...] | None]) -> None:
    first, second = columns
    if (first is None) != (second is None):
        raise AssertionError("one back end accepts what the other one refuses")
    if first is not None and second is not None:
        for one, other in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, other)


def result_seeds() -> list[bytes]:
    """Return valid result files of every kind, one of them as plain as our kernel reads."""
    return [json.dumps(_results(kind)).encode() for kind in KINDS]


def read_both(data: bytes) -> None:
    """Analyse a pair of annotation and result files, given as one JSON list of the two."""
    try:
        truth, results = json.loads(data)
        files = json.dumps(truth).encode(), json.dumps(results).encode()
    except (ValueError, TypeError, RecursionError):
        raise LthDetError("not a pair") from None
    with as_file(files[0]) as truth_path, as_file(files[1]) as results_path:
        value = analyze(truth_path, {"a": results_path}, options=_QUICK).to_dict()
    to_json(value).encode()


def pair_seeds() -> list[bytes]:
    """Return valid pairs."""
    return [json.dumps([_truth(kind), _results(kind)]).encode() for kind in KINDS]


def read_coco(data: bytes) -> None:
    """Read an annotation file (an object), a result file (a list of objects) or a pair of both, whichever it looks like."""
    start = data.lstrip()[:1]
    if start == b"[":
        second = data.lstrip()[1:].lstrip()[:12]
        if second.startswith(b"{") and b'"images"' in data[:4096]:
            read_both(data)
        else:
            read_results(data)
    else:
        read_truth(data)


def coco_seeds() -> list[bytes]:
    """Return valid files of all three forms."""
    return [*truth_seeds(), *result_seeds(), *pair_seeds()]


# --- run folders ------------------------------------------------------------------------------------------------


@functools.cache
def _run_folder() -> Path:
    folder = Path(
        tempfile.mkdtemp(prefix="fuzz_run_", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    )
    (folder / "round_00").mkdir()
    (folder / "round_00" / "p.json").write_text("[]")
    return folder


def read_run(data: bytes) -> None:
    """Read results.json for the report and the analysis; the same bytes are the record of a stage and of the run, too."""
    with fuzz_watch.unwatched():
        folder = _run_folder()
        for name in ("results.json", "round_00/stage.json", "run.json"):
            (folder / name).write_bytes(data)
    accepted = 0
    readers: list[Callable[[], object]] = [
        lambda: read_run_results(folder).tasks,
        lambda: read_run_input(folder),
        lambda: RunDir(folder).record("round_00"),
        lambda: RunDir(folder).claim({"SEED": 1}),
    ]
    for reader in readers:
        with suppress(LthDetError):
            reader()
            accepted += 1
    if not accepted:
        raise LthDetError("refused")


def run_seeds() -> list[bytes]:
    """Return the results.json of a small run."""
    groups = {
        "backbone": {
            "total_parameters": 10,
            "prunable_parameters": 8,
            "pruned_parameters": 4,
            "sparsity": 0.4,
        }
    }
    layers = [
        {
            "name": "a.weight",
            "group": "backbone",
            "total_parameters": 10,
            "pruned_parameters": 4,
            "prunable": True,
        }
    ]
    stage = {
        "round": 0, "stage": "round_00", "prune_rate": 0.0, "sparsity": 0.0, "metrics": {"bbox/AP": 12.5, "bbox/AP50": None},
        "ticket": None, "ticket_sha256": None, "groups": groups, "layers": layers, "predictions": "round_00/p.json",
        "total_parameters": 10, "prunable_parameters": 8, "pruned_parameters": 0, "weights": "round_00/model_final.pth",
    }  # fmt: skip
    value = {
        "format_version": 1, "rounds": [stage, stage | {"round": 1, "stage": "round_01", "prune_rate": 0.5, "ticket": "t"}],
        "controls": [stage | {"round": 1, "stage": "random_01", "name": "random", "prune_rate": 0.5}],
        "seed": 1, "complete": True, "dataset": {"name": "shapes", "json_file": "a.json", "image_root": "."},
        "config_sha256": "0" * 64, "versions": {"torch": "2"},
    }  # fmt: skip
    return [json.dumps(value).encode()]


TARGETS = {
    "ticket": Target(read_ticket, fuzz_mutate.change_ticket, ticket_seeds),
    "manifest": Target(read_only_manifest, fuzz_mutate.change_ticket, ticket_seeds),
    "truth": Target(read_truth, fuzz_mutate.change_document, truth_seeds),
    "results": Target(read_results, fuzz_mutate.change_document, result_seeds),
    "coco": Target(read_coco, fuzz_mutate.change_document, coco_seeds),
    "run": Target(read_run, fuzz_mutate.change_document, run_seeds),
    "analysis": Target(read_both, fuzz_mutate.change_document, pair_seeds),
}


def dice_of(number: int) -> random.Random:
    """Return a generator of its own for one change."""
    return random.Random(number)
