"""The command of sweeps without any run: exit codes and options that would do nothing."""

import pytest
import yaml

from lth_det.cli import compare_tickets
from lth_det.cli.common import EXIT_BAD_INPUT, EXIT_DEFECT
from lth_det.errors import ConfigError
from lth_det.sweeps.plan import load_plan
from lth_det.sweeps.state import FAILED, SweepState


@pytest.fixture
def plan(tmp_path):
    run = {"commands": [["python", "-c", "pass"]], "done_file": "done"}
    content = {"name": "p", "kind": "runs", "output": str(tmp_path / "out"), "runs": {"one": run}}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(content))
    return str(tmp_path / "plan.yaml")


def tool(*words):
    return compare_tickets.run(compare_tickets.build_parser().parse_args(["--config-file", *words]))


def test_runs_that_nobody_has_tried_are_no_wrong_input(plan, capsys):
    assert tool(plan, "--report-only") == EXIT_DEFECT
    words = "error: 1 of 1 runs are not finished; run the same command again without --report-only."
    assert capsys.readouterr().err.splitlines()[-1] == words


def test_a_run_whose_input_was_wrong_is(plan, tmp_path, capsys):
    sweep, state = load_plan(plan), SweepState.load(str(tmp_path / "out"))
    state.records["one"] = {
        "state": FAILED,
        "exit_code": EXIT_BAD_INPUT,
        "reason": "No such file.",
        "sha256": sweep.runs[0].sha256,
    }
    state.save(sweep)
    assert tool(plan, "--report-only") == EXIT_BAD_INPUT
    assert "mend what failed and run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_a_matrix_that_there_is_not_cannot_be_written(plan, tmp_path, words):
    with pytest.raises(ConfigError, match="--json writes the matrix"):
        tool(plan, "--json", str(tmp_path / "matrix.json"), *words)
