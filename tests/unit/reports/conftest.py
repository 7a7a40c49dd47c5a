import pytest
from made_up_run import make_run
from matplotlib.figure import Figure

from lth_det.reports import run_plots, sparsity_plots
from lth_det.reports.plots import Drawing
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


@pytest.fixture
def quick_figures(monkeypatch):
    """Figures are filled but not rendered, for tests of what stands around them."""

    def fill(name, draw, *, width, height=3.4):
        draw(Figure(figsize=(width, height)))
        return Drawing(name, '<svg xmlns="http://www.w3.org/2000/svg"></svg>', b"")

    for module in (run_plots, sparsity_plots):
        monkeypatch.setattr(module, "render", fill)
