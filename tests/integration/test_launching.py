"""Processes started as Detectron2's launch starts them, on the CPU: one sentence and exit code 2, or a traceback and 1."""

import time

import pytest
import torch.multiprocessing as mp

from lth_det.cli.common import run_tool
from lth_det.d2.launching import launch_with_sentences
from lth_det.errors import ConfigError, ReportedElsewhereError

pytestmark = [
    pytest.mark.d2,
    # The children of a fork end before they use a thread.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def start_on_cpu(main_func, num_gpus_per_machine, num_machines=1, args=(), **_):
    """As Detectron2's launch, without its demand for GPUs: a function, and each process calls it."""
    if num_machines * num_gpus_per_machine <= 1:
        main_func(*args)
        return
    # Forked, not spawned: a new interpreter would import torch for seconds.
    mp.start_processes(
        _call, nprocs=num_gpus_per_machine, args=(main_func, args), start_method="fork"
    )


def _call(rank, main_func, args):
    main_func(rank, *args)


def only_rank_0_complains(rank):
    if rank == 0:
        raise ConfigError("SOLVER.BASE_LR is wrong;\nlower it.")
    raise ReportedElsewhereError("rank 0")


def all_complain(rank):
    raise ConfigError("SOLVER.BASE_LR is wrong; lower it.")


def rank_1_complains_and_rank_0_loses_it(rank):
    if rank == 0:
        time.sleep(0.5)  # until the other one is gone
        raise RuntimeError("Connection closed by peer")
    raise ConfigError("SOLVER.BASE_LR is wrong; lower it.")


def defect(rank):
    raise ValueError("a defect of ours")


def end_of(work, capsys):
    def body():
        launch_with_sentences(work, 2, args=(), start=start_on_cpu)

    with pytest.raises(SystemExit) as stop:
        run_tool(body)
    return stop.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    "work", [only_rank_0_complains, all_complain, rank_1_complains_and_rank_0_loses_it]
)
def test_what_stops_a_started_process_is_one_sentence_and_exit_code_2(work, capsys):
    code, text = end_of(work, capsys)
    assert code == 2
    assert text == "error: SOLVER.BASE_LR is wrong; lower it.\n"


def test_a_defect_keeps_its_traceback():
    with pytest.raises(mp.ProcessRaisedException, match="a defect of ours"):
        launch_with_sentences(defect, 2, args=(), start=start_on_cpu)


def test_work_that_succeeds_says_nothing(capsys):
    assert end_of(print_nothing, capsys) == (0, "")


def print_nothing(rank):
    assert rank in (0, 1)


def test_one_process_is_called_directly():
    with pytest.raises(ConfigError, match="is wrong"):
        launch_with_sentences(all_complain, 1, args=(0,), start=start_on_cpu)
