"""Building and loading the kernel, falling back without it, and its reader of plain results."""

import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lth_det.analysis import backends, compiled
from lth_det.analysis.numpy_backend import NumpyBackend
from lth_det.errors import InputError

try:
    KERNEL = compiled.load_compiled()
except compiled.KernelUnavailableError as error:
    pytest.skip(f"there is no kernel: {error}", allow_module_level=True)


def test_the_kernel_is_built_once_and_a_damaged_name_is_never_loaded(tmp_path):
    first = compiled.build_kernel(tmp_path)
    stamp = first.stat().st_mtime_ns
    assert compiled.build_kernel(tmp_path) == first
    assert first.stat().st_mtime_ns == stamp
    assert [p.name for p in tmp_path.iterdir()] == [first.name], "no temporary file is left"


def test_without_a_compiler_the_reason_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(compiled.KernelUnavailableError, match="no C compiler"):
        compiled.build_kernel(tmp_path)


def test_a_failing_compiler_is_reported_and_leaves_nothing(tmp_path, monkeypatch):
    broken = tmp_path / "broken-cc"
    broken.write_text("#!/bin/sh\necho 'no such flag' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    folder = tmp_path / "cache"
    with pytest.raises(compiled.KernelUnavailableError, match="no such flag"):
        compiled.build_kernel(folder)
    assert list(folder.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_reported(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(compiled.KernelUnavailableError, match="cannot be written"):
        compiled.build_kernel(blocked / "kernels")


def test_numpy_takes_over_with_a_log_line_but_not_when_compiled_was_demanded(monkeypatch, caplog):
    def fail():
        raise compiled.KernelUnavailableError("there is no C compiler")

    monkeypatch.setattr(compiled, "load_compiled", fail)
    monkeypatch.delenv(backends.BACKEND_VARIABLE, raising=False)
    choose = backends.get_backend.__wrapped__
    with caplog.at_level(logging.INFO):
        assert choose(None).name == "numpy"
    assert "no C compiler" in caplog.text
    with pytest.raises(InputError, match="no C compiler"):
        choose("compiled")
    monkeypatch.setenv(backends.BACKEND_VARIABLE, "fortran")
    with pytest.raises(InputError, match="fortran"):
        choose(None)
    monkeypatch.setenv(backends.BACKEND_VARIABLE, "numpy")
    assert choose(None).name == "numpy"


def test_two_processes_may_build_at_the_same_time(tmp_path):
    code = (
        "from pathlib import Path; from lth_det.analysis.compiled import build_kernel; "
        f"print(build_kernel(Path({str(tmp_path)!r})))"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    paths = {process.communicate()[0].strip() for process in both}
    assert all(process.returncode == 0 for process in both)
    assert len(paths) == 1
    assert os.listdir(tmp_path) == [os.path.basename(paths.pop())]


def test_the_analysis_needs_neither_torch_nor_detectron2():
    code = (
        "import sys\n"
        "for name in ('torch', 'detectron2', 'fvcore', 'matplotlib', 'cv2', 'scipy'): sys.modules[name] = None\n"
        "from lth_det.analysis.analyze import analyze\n"
        "empty = {'images': [], 'annotations': [], 'categories': []}\n"
        "print(analyze(empty, {'a': []}).to_dict()['models']['a']['bbox']['AP'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "None"), done.stderr


NUMBER = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**18), 10**18).map(float),
    st.decimals(0, 1, places=6).map(float),
    st.floats(0, 700, width=32),
)
RECORD = st.fixed_dictionaries(
    {
        "image_id": st.integers(-(10**13), 10**13),
        "category_id": st.integers(0, 1300),
        "bbox": st.lists(NUMBER, min_size=4, max_size=4),
        "score": NUMBER,
    }
)


@settings(max_examples=150, deadline=None)
@given(
    records=st.lists(RECORD, min_size=1, max_size=5),
    indent=st.sampled_from([None, 2]),
    turn=st.booleans(),
)
def test_the_reader_reads_what_json_reads(records, indent, turn):
    if turn:
        records = [dict(reversed(r.items())) for r in records]
    plain = KERNEL.read_results(json.dumps(records, indent=indent).encode())
    assert plain is not None
    assert plain.image_id.tolist() == [r["image_id"] for r in records]
    assert plain.category_id.tolist() == [r["category_id"] for r in records]
    assert plain.score.tolist() == [r["score"] for r in records]
    assert plain.box.tolist() == [r["bbox"] for r in records]


@pytest.mark.parametrize(
    "text",
    [
        "0.1",
        "1e-5",
        "5E+2",
        "-0.0",
        "1.7976931348623157e308",
        "4.9e-324",
        "0.30000000000000004",
        "9007199254740993",
        "123456789.12345678",
    ],
)
def test_numbers_round_as_in_python(text):
    data = f'[{{"image_id":1,"category_id":2,"bbox":[{text},0,0,1],"score":{text}}}]'.encode()
    plain = KERNEL.read_results(data)
    assert plain.score[0] == float(text)
    assert plain.box[0, 0] == float(text)


GOOD = '{"image_id":1,"category_id":2,"bbox":[1,2,3,4],"score":0.5}'
NOT_PLAIN = [
    "", "[", "[]x", "{}", f"[{GOOD}", f"[{GOOD},]", f"[{GOOD}] 1", f"[{GOOD} {GOOD}]", "[1]", "[{}]",
    GOOD, f"[{GOOD[:-1]},\"id\":1}}]", f"[{GOOD[:-1]},\"score\":1}}]", f"[{GOOD.replace('0.5', 'true')}]",
    f"[{GOOD.replace('0.5', 'NaN')}]", f"[{GOOD.replace('0.5', '.5')}]", f"[{GOOD.replace('0.5', '5.')}]",
    f"[{GOOD.replace('0.5', '05')}]", f"[{GOOD.replace('0.5', '+5')}]", f"[{GOOD.replace('0.5', '1e')}]",
    f"[{GOOD.replace('0.5', '0x1p3')}]", f"[{GOOD.replace('0.5', '-')}]", f"[{GOOD.replace('0.5', chr(34) + '1' + chr(34))}]",
    f"[{GOOD.replace('[1,2,3,4]', '[1,2,3]')}]", f"[{GOOD.replace('[1,2,3,4]', '[1,2,3,4,5]')}]",
    f"[{GOOD.replace('image_id', 'image')}]", f"[{GOOD.replace(':1,', ':1.0,')}]", f"[{GOOD.replace(':1,', ':12345678901234567890,')}]",
    f"[{GOOD.replace('score', 'sc' + chr(92) + 'u006fre')}]", f"[{GOOD}\0]",
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_PLAIN)
def test_anything_else_is_left_to_the_general_reader(text):
    assert KERNEL.read_results(text.encode()) is None


@settings(max_examples=200, deadline=None)
@given(cut=st.integers(0, 400), insert=st.binary(max_size=4))
def test_damaged_text_never_crashes_the_reader(cut, insert):
    whole = json.dumps([json.loads(GOOD)] * 4).encode()
    data = whole[:cut] + insert + whole[cut + len(insert) :]
    plain = KERNEL.read_results(data)
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if plain is not None:
        assert plain.score.tolist() == [r["score"] for r in value]


def test_numpy_reads_nothing_itself():
    assert NumpyBackend().read_results(b"[]") is None


def test_a_plain_file_and_records_in_memory_give_the_same(tmp_path):
    from coco_oracle import make_coco

    from lth_det.analysis.analyze import analyze
    from lth_det.analysis.options import Options

    truth, results = make_coco(3)
    path = tmp_path / "dt.json"
    path.write_text(json.dumps(results))
    options = Options(replicates=0)
    one = analyze(truth, {"a": str(path)}, options=options).to_dict()
    two = analyze(truth, {"a": results}, options=options).to_dict()
    assert one["inputs"]["models"]["a"]["files"]["bbox"][0]["records"] == len(results)
    assert one["models"] == two["models"]
    assert np.isfinite(one["models"]["a"]["bbox"]["AP"])
