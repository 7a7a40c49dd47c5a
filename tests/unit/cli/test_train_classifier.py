import json
import subprocess
import sys
from pathlib import Path

import pytest

from lth_det.cli.train_classifier import build_parser, main, run

ROOT = Path(__file__).resolve().parents[3]
CONFIG = str(ROOT / "configs" / "classify" / "quick" / "shapes_cls_imp.yaml")


def call(*words):
    return run(build_parser().parse_intermixed_args(words))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTH_DET_DATA", str(tmp_path_factory.mktemp("data")))
        yield


def test_dry_run_as_text_and_as_json(capsys):
    assert call("--config-file", CONFIG, "--dry-run", "pruning.targets", "[0.5]") == 0
    assert "narrow_resnet, 4 classes" in capsys.readouterr().out
    assert call("--config-file", CONFIG, "--dry-run", "--json", "-") == 0
    assert len(json.loads(capsys.readouterr().out)["rounds"]) == 2


def test_the_quick_run_on_shapes_prints_its_table(tmp_path, data, capsys):
    file = tmp_path / "out.json"
    words = ("--config-file", CONFIG, "output", str(tmp_path / "run"), "--json", str(file))
    assert call(*words) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["round", "prune", "rate", "sparsity", "top-1", "top-5"]
    assert len(out) == 4
    assert json.loads(file.read_text())["complete"]
    page = (tmp_path / "run" / "report" / "index.html").read_text(encoding="utf-8")
    assert "Top-1 accuracy, dense" in page


def test_the_quick_transfer_on_shapes_prints_its_table(tmp_path, data, capsys, monkeypatch):
    monkeypatch.setattr("lth_det.classify.run.write_run_report", lambda folder: folder)
    file = CONFIG.replace("shapes_cls_imp", "mehta_shapes")
    assert call("--config-file", file, "output", str(tmp_path / "run"), "--json", "-") == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 2 * (3 + 4)
    assert (tmp_path / "run" / "transfer.txt").exists()
    page = (tmp_path / "run" / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 1
    assert "random_mask" in page


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--config-file", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["--config-file", CONFIG, "solver.lrr", "1"], "did you mean solver.lr?"),
        (
            [
                "--config-file",
                str(ROOT / "configs/classify/cifar10_resnet18_imp.yaml"),
                "data.root",
                "/nowhere",
            ],
            "not there",
        ),
    ],
)
def test_wrong_input_ends_with_code_2_and_one_line(monkeypatch, capsys, tmp_path, words, sentence):
    monkeypatch.chdir(tmp_path)  # where a run that gets past the checks would write
    monkeypatch.setattr(sys, "argv", ["train_classifier.py", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("error:") == 1
    assert "Traceback" not in error


def test_help_has_an_example_and_needs_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv[1:] = ['--help'];"
        "from lth_det.cli.train_classifier import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "tools/train_classifier.py --config-file" in done.stdout


def test_classify_needs_no_detectron2():
    code = (
        "import sys\n"
        "for name in ('detectron2', 'fvcore', 'yacs'): sys.modules[name] = None\n"
        "import lth_det.classify.run, lth_det.classify.transfer_run, lth_det.classify.dry_run\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
