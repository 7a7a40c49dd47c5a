import errno
import json
import subprocess
import sys

import pytest

from lth_det.cli.common import read_json, run_tool, write_json_option
from lth_det.errors import LthDetError, RunError


def outcome(main, capsys):
    with pytest.raises(SystemExit) as stop:
        run_tool(main)
    return stop.value.code, capsys.readouterr().err


def failing(error):
    def main():
        raise error

    return main


def test_exit_codes_of_tools_that_end_well(capsys):
    assert outcome(lambda: None, capsys) == (0, "")
    assert outcome(lambda: 0, capsys) == (0, "")
    assert outcome(lambda: 1, capsys) == (1, "")


def test_wrong_input_is_one_line_and_exit_code_2(capsys):
    code, text = outcome(failing(RunError("The file\n  x.json is damaged.")), capsys)
    assert (code, text) == (2, "error: The file x.json is damaged.\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_what_only_the_user_can_mend_is_a_sentence_too(capsys, number):
    code, text = outcome(failing(OSError(number, "no luck", "out/model.pth")), capsys)
    assert code == 2
    assert text.startswith("error: out/model.pth: no luck; ")
    assert text.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("defect"), OSError(errno.EBADF, "defect")])
def test_a_defect_of_ours_keeps_its_traceback(error):
    with pytest.raises(type(error), match="defect"):
        run_tool(failing(error))


def test_an_interrupt_says_how_to_go_on(capsys):
    code, text = outcome(failing(KeyboardInterrupt()), capsys)
    assert code == 130
    assert "same command goes on" in text


def test_json_goes_to_a_file_or_alone_to_standard_output(tmp_path, capsys):
    write_json_option(str(tmp_path / "a.json"), {"ap": float("nan")})
    assert capsys.readouterr().out == ""
    assert read_json(str(tmp_path / "a.json")) == {"ap": None}
    write_json_option("-", {"ap": 1.5})
    assert json.loads(capsys.readouterr().out) == {"ap": 1.5}


@pytest.mark.parametrize("content", [None, "{", b"\xff\xfe\x00"])
def test_json_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LthDetError, match=r"a\.json cannot be read as JSON"):
        read_json(str(path))


def test_leaving_at_once_flushes_and_skips_the_clean_up():
    code = (
        "import atexit, sys; from lth_det.cli.common import leave_at_once\n"
        "atexit.register(lambda: print('cleaned up'))\nprint('written')\nsys.stderr.write('told')\nleave_at_once(2)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "written\n", "told")
