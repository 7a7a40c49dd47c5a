"""Run folders, the command line, the official example, and LVIS rules against faster-coco-eval."""

import contextlib
import copy
import io
import json
from pathlib import Path

import numpy as np
import pytest
from coco_oracle import make_coco, oracle

from lth_det.analysis.analyze import analyze
from lth_det.analysis.options import Options
from lth_det.analysis.run_input import read_run
from lth_det.cli import analyze_coco
from lth_det.errors import InputError

OFFICIAL = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "cocoeval"
QUICK = Options(replicates=0, errors=False)


@pytest.fixture
def run_folder(tmp_path):
    """A run of a dense round, one pruned round and a control, as train_net.py writes it."""
    truth, results = make_coco(1, images=20)
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    stages = {"round_00": results, "round_01": results[::2], "control_random_01": results[::3]}
    for name, value in stages.items():
        (tmp_path / name / "inference").mkdir(parents=True)
        (tmp_path / name / "inference" / "coco_instances_results.json").write_text(
            json.dumps(value)
        )

    def stage(folder, **fields):
        return fields | {"predictions": f"{folder}/inference/coco_instances_results.json"}

    value = {
        "format_version": 1,
        "rounds": [
            stage("round_00", round=0, prune_rate=0.0, sparsity=0.0),
            stage("round_01", round=1, prune_rate=0.8, sparsity=0.78),
            {"round": 2, "prune_rate": 0.9, "sparsity": 0.88, "predictions": None},
        ],
        "controls": [
            stage("control_random_01", name="random", round=1, prune_rate=0.8, sparsity=0.78)
        ],
        "dataset": {
            "name": "d",
            "json_file": str(tmp_path / "gt.json"),
            "image_root": "/nowhere",
            "train_json_file": str(tmp_path / "gt.json"),
        },
    }
    (tmp_path / "results.json").write_text(json.dumps(value))
    return tmp_path


def test_a_run_becomes_models_with_their_sparsity(run_folder):
    run = read_run(run_folder)
    assert list(run.results) == ["dense", "round_01", "random_01"]
    assert run.info["round_01"].sparsity == 0.78
    assert run.info["random_01"].control == "random"
    assert "round_02 has no predictions" in run.notes[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rounds": 3}, "not the results of a run"),
        ({"dataset": {"name": "voc"}}, "--gt"),
        ({"rounds": [{"round": "x"}]}, "no number"),
        ({"rounds": [], "controls": []}, "no round has predictions"),
    ],
)
def test_a_damaged_run_is_named(run_folder, change, words):
    path = run_folder / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=words):
        read_run(run_folder)


def call(*arguments):
    return analyze_coco.run(analyze_coco.build_parser().parse_args([str(a) for a in arguments]))


def test_the_command_on_a_run(run_folder, capsys, monkeypatch):
    from lth_det.reports import analysis_report

    asked = []
    # The page has its own tests, and drawing it takes long.
    monkeypatch.setattr(
        analysis_report,
        "write_analysis_report",
        lambda value, folder, image_root: asked.append((folder, image_root)) or folder / "page",
    )
    out = run_folder / "analysis"
    assert call("--run", run_folder, "--bootstrap", "100", "--output", out) == 0
    text = capsys.readouterr().out
    assert "round_01" in text
    assert "round_02 has no predictions" in text
    value = json.loads((out / "analysis.json").read_text())
    assert value["model_order"] == ["dense", "round_01", "random_01"]
    assert value["inputs"]["models"]["round_01"]["sparsity"] == 0.78
    assert value["reference"] == "dense"
    assert value["parameters"]["frequency_source"].endswith("training annotations (--train-gt)")
    assert asked == [(out, "/nowhere")]


def test_json_on_standard_output_is_alone_there(run_folder, capsys):
    files = [
        run_folder / f"round_0{i}" / "inference" / "coco_instances_results.json" for i in (0, 1)
    ]
    code = call(
        "--gt", run_folder / "gt.json", "--train-gt", run_folder / "gt.json",
        "--dt", f"dense={files[0]}", "--dt", f"t={files[1]},{files[0]}", "--dt", f"t={files[1]}",
        "--reference", "dense", "--iou-type", "bbox", "--bootstrap", "0", "--json", "-",
    )  # fmt: skip
    assert code == 0
    value = json.loads(capsys.readouterr().out)
    assert value["inputs"]["models"]["t"]["seeds"] == 3
    assert value["parameters"]["frequency_source"].startswith(
        "terciles of training images; training"
    )


def test_losing_can_fail_the_command(run_folder):
    arguments = ("--run", run_folder, "--bootstrap", "200", "--no-errors", "--fail-on-losing")
    assert call(*arguments, "--margin", "0") in (0, analyze_coco.EXIT_LOSING)
    value = run_folder / "x.json"
    code = call(*arguments, "--margin", "0", "--json", value)
    losing = any(c["verdict"] == "losing" for c in json.loads(value.read_text())["comparisons"])
    assert code == (analyze_coco.EXIT_LOSING if losing else 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--dt", "a.json"), "NAME=FILE"),
        (("--dt", "a=x.json"), "--gt"),
        (("--gt", "absent.json", "--dt", "a=x.json"), "cannot be read"),
        (("--gt", "g", "--dt", "a=x", "--size-edges", "a,b"), "--size-edges"),
        (("--gt", "g", "--dt", "a=x", "--attribute", "labels"), "--attribute labels"),
        (("--run", "absent"), "absent"),
    ],
)
def test_the_command_names_what_is_wrong(arguments, words):
    with pytest.raises(InputError, match=words):
        call(*arguments)


def test_labels_from_a_file_become_an_axis(run_folder):
    labels = run_folder / "labels.json"
    labels.write_text(json.dumps({str(i): "odd" if i % 2 else "even" for i in range(1, 40)}))
    out = run_folder / "o.json"
    call(
        "--run",
        run_folder,
        "--bootstrap",
        "0",
        "--no-errors",
        "--attribute",
        f"parity={labels}",
        "--json",
        out,
    )
    bins = json.loads(out.read_text())["models"]["dense"]["bbox"]["by_parity"]
    assert set(bins) == {"odd", "even"}
    labels.write_text('{"a": "b"}')
    with pytest.raises(InputError, match="annotation ids"):
        call("--run", run_folder, "--attribute", f"parity={labels}")


@pytest.mark.data
@pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the official evaluation example is not there")
@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_the_official_example(iou_type):
    truth = OFFICIAL / "instances_val2014_100.json"
    results = OFFICIAL / f"instances_val2014_fake{iou_type}100_results.json"
    model = analyze(truth, {"a": results}, options=QUICK).model("a", iou_type)
    evaluation = oracle(json.loads(truth.read_text()), json.loads(results.read_text()), iou_type)
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
    np.testing.assert_allclose([model[n] for n in names], evaluation.stats, rtol=0, atol=1e-12)
    assert model["AP"] == pytest.approx({"bbox": 0.504581, "segm": 0.319545}[iou_type], abs=1e-6)


def federated(seed):
    """LVIS: every image names classes that were verified absent and classes not exhaustively annotated."""
    truth, results = make_coco(seed, images=25, classes=6, crowd=0.0)
    generator = np.random.default_rng(seed)
    for category, letter in zip(truth["categories"], "rrccff", strict=True):
        category |= {"frequency": letter, "image_count": 5, "instance_count": 9}
    ids = [c["id"] for c in truth["categories"]]
    for image in truth["images"]:
        there = {a["category_id"] for a in truth["annotations"] if a["image_id"] == image["id"]}
        absent = [i for i in ids if i not in there]
        image["neg_category_ids"] = [i for i in absent if generator.random() < 0.5]
        image["not_exhaustive_category_ids"] = [i for i in there if generator.random() < 0.3]
    for annotation in truth["annotations"]:
        del annotation["iscrowd"]
    return truth, results


@pytest.mark.parametrize("seed", range(3))
def test_lvis_rules_equal_faster_coco_eval(seed):
    faster = pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    truth, results = federated(seed)
    value = analyze(truth, {"a": results}, options=QUICK).to_dict()
    model = value["models"]["a"]["bbox"]
    with contextlib.redirect_stdout(io.StringIO()):
        gt = faster.COCO(copy.deepcopy(truth))
        found = gt.loadRes(copy.deepcopy(results))
        evaluation = faster.COCOeval_faster(
            gt, found, "bbox", lvis_style=True, print_function=lambda *_: None
        )
        evaluation.params.maxDets = [300]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    ap = np.where(precision[:, 0] < 0, np.nan, precision.mean(axis=1)).mean(axis=0)
    ours = [c["AP"] for c in model["by_category"].values()]
    np.testing.assert_allclose(np.array(ours, dtype=float), ap, rtol=0, atol=1e-12)
    assert value["dataset"]["style"] == "lvis"
    letters = {"rare": (0, 2), "common": (2, 4), "frequent": (4, 6)}
    for name, (a, b) in letters.items():
        assert model["by_frequency"][name]["AP"] == pytest.approx(np.nanmean(ap[a:b]), abs=1e-12)


def test_unverified_classes_are_ignored_not_false_positives():
    truth, results = federated(7)
    plain = copy.deepcopy(truth)
    for image in plain["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    lvis, coco = (
        analyze(t, {"a": results}, options=QUICK).model("a", "bbox") for t in (truth, plain)
    )
    assert lvis["AP"] > coco["AP"]
    assert lvis["AR"] == pytest.approx(coco["AR"], abs=1e-12)
