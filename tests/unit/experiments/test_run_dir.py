import subprocess
import sys

import pytest

from lth_det.errors import RunError
from lth_det.experiments.run_dir import RunDir


def test_a_folder_belongs_to_the_settings_that_claimed_it(tmp_path):
    settings = {"SEED": 1, "SOLVER.MAX_ITER": 600}
    digest = RunDir(tmp_path).claim(settings)
    (tmp_path / "round_00").mkdir()
    assert RunDir(tmp_path).claim(dict(reversed(settings.items()))) == digest
    with pytest.raises(RunError, match=r"SOLVER.MAX_ITER: 600, now 700"):
        RunDir(tmp_path).claim({**settings, "SOLVER.MAX_ITER": 700})


@pytest.mark.parametrize("stage", ["round_00", "ticket"])
def test_a_folder_changes_its_settings_until_a_stage_has_begun(tmp_path, stage):
    RunDir(tmp_path).claim({"SEED": 1})
    digest = RunDir(tmp_path).claim({"SEED": 2})
    (tmp_path / stage).mkdir()
    assert RunDir(tmp_path).claim({"SEED": 2}) == digest
    with pytest.raises(RunError, match="SEED: 2, now 1"):
        RunDir(tmp_path).claim({"SEED": 1})


def test_a_second_process_is_turned_away(tmp_path):
    code = "import sys; from lth_det.experiments.run_dir import RunDir\nwith RunDir(sys.argv[1]).lock(): pass"
    with RunDir(tmp_path).lock():
        second = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert "in use by another process" in second.stderr
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0


def test_damaged_records_are_named(tmp_path):
    run = RunDir(tmp_path)
    run.finish("round_00", {"round": 0})
    assert run.record("round_00") == {"round": 0}
    assert run.record("round_01") is None
    (tmp_path / "round_00/stage.json").write_text('{"round": ')
    with pytest.raises(RunError, match=r"stage\.json is damaged"):
        run.record("round_00")


def test_leftovers_of_every_file_of_a_run_are_removed(tmp_path):
    run = RunDir(tmp_path)
    files = [value for value in vars(run).values() if getattr(value, "suffix", "") == ".json"]
    assert len(files) == 5
    left = [file.with_name(f".{file.name}.abcdefgh.tmp") for file in files]
    for path in left:
        path.write_text("x")
    with run.lock():
        pass
    assert not any(path.exists() for path in left)
