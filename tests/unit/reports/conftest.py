import io

import matplotlib as mpl
import pytest
from made_up_analysis import make_analysis
from made_up_run import make_run
from matplotlib.figure import Figure

from lth_det.reports import (
    analysis_churn,
    analysis_classes,
    analysis_curves,
    analysis_errors,
    analysis_pr,
    analysis_strata,
    early_bird_part,
    matrix_heatmap,
    modules_parts,
    run_attributes,
    run_plots,
    sparsity_plots,
    sweep_curves,
    sweep_differences,
    transfer_page,
)
from lth_det.reports.analysis_report import write_analysis_report
from lth_det.reports.plots import SETTINGS, Drawing
from lth_det.reports.run_report import write_run_report

DRAWING_MODULES = (
    analysis_churn,
    analysis_classes,
    analysis_curves,
    analysis_errors,
    analysis_pr,
    analysis_strata,
    early_bird_part,
    matrix_heatmap,
    modules_parts,
    run_attributes,
    run_plots,
    sparsity_plots,
    sweep_curves,
    sweep_differences,
    transfer_page,
)


@pytest.fixture(scope="session")
def finished_report(tmp_path_factory):
    """The report folder of a made-up run of five rounds with masks; tests must not change it."""
    folder = make_run(tmp_path_factory.mktemp("reports") / "run", images=4)
    return write_run_report(folder).parent


@pytest.fixture
def small_run(tmp_path):
    """A made-up run of two rounds that a test may damage."""
    return make_run(tmp_path / "run", rounds=2, images=2)


@pytest.fixture(scope="session")
def analysed_run(tmp_path_factory):
    """A made-up run of three rounds with keypoints and the JSON of its analysis; tests must not change them."""
    folder = make_run(
        tmp_path_factory.mktemp("analysis") / "run", rounds=3, images=8, keypoints=True
    )
    return folder, make_analysis(folder, iou_types=("bbox", "keypoints"))


@pytest.fixture(scope="session")
def finished_analysis(analysed_run, tmp_path_factory):
    """The report folder of an analysis, its figures without layout (which takes most of the time)."""
    folder, analysis = analysed_run
    with pytest.MonkeyPatch.context() as patch:
        for module in DRAWING_MODULES:
            patch.setattr(module, "render", vector_only)
        target = tmp_path_factory.mktemp("finished")
        return write_analysis_report(analysis, target, image_root=folder / "data").parent


@pytest.fixture
def quick_figures(monkeypatch):
    """Figures are filled but not rendered, for tests of what stands around them; the figures by name."""
    figures = {}

    def fill(name, draw, *, width, height=3.4):
        figures[name] = Figure(figsize=(width, height))
        draw(figures[name])
        return Drawing(name, '<svg xmlns="http://www.w3.org/2000/svg"></svg>', b"")

    for module in DRAWING_MODULES:
        monkeypatch.setattr(module, "render", fill)
    return figures


@pytest.fixture
def light_figures(monkeypatch):
    """Figures are rendered as SVG only and without layout, which takes most of the time."""
    for module in DRAWING_MODULES:
        monkeypatch.setattr(module, "render", vector_only)


@pytest.fixture
def no_figures(monkeypatch):
    """Figures are left out, for tests of everything else."""

    def leave_out(name, draw, *, width, height=3.4):
        return Drawing(name, '<svg xmlns="http://www.w3.org/2000/svg"></svg>', b"")

    for module in DRAWING_MODULES:
        monkeypatch.setattr(module, "render", leave_out)


def vector_only(name, draw, *, width, height=3.4):
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(width, height))
        draw(figure)
        vector = io.StringIO()
        figure.savefig(vector, format="svg", metadata={"Date": None})
    return Drawing(name, vector.getvalue(), b"")
