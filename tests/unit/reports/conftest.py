import pytest
from made_up_run import make_run

from lth_det.reports.run_report import write_run_report


@pytest.fixture(scope="session")
def finished_report(tmp_path_factory):
    """The report folder of a made-up run of five rounds with masks; tests must not change it."""
    folder = make_run(tmp_path_factory.mktemp("reports") / "run", images=4)
    return write_run_report(folder).parent


@pytest.fixture
def small_run(tmp_path):
    """A made-up run of two rounds that a test may damage."""
    return make_run(tmp_path / "run", rounds=2, images=2)
