"""Drawing with matplotlib: one look, vector and pixel form, equal bytes for equal input.

matplotlib is imported inside functions (it is slow to import), without ``pyplot``: no global state is touched.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lth_det.reports.style import GRID, INK, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FONT_SIZE: Final = 9.0
PNG_DPI: Final = 160
# Where labels would touch, the one that comes first here is kept.
SPARSITY_TICKS: Final = (
    *(0.0, 0.9, 0.8, 0.5, 0.95, 0.99, 0.999, 0.98, 0.7),
    *(0.995, 0.998, 0.2, 0.3, 0.6, 0.4, 0.1, 0.05),
)
REMAINING_TICKS: Final = (
    *(1.0, 0.1, 0.5, 0.2, 0.05, 0.01, 0.001, 0.02),
    *(0.3, 0.7, 0.005, 0.002, 0.8, 0.6, 0.4, 0.9, 0.95),
)
SMALLEST_REMAINING: Final = 1e-6

SETTINGS: Final = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": FONT_SIZE,
    "axes.titlesize": FONT_SIZE,
    "axes.labelsize": FONT_SIZE,
    "legend.fontsize": FONT_SIZE,
    "xtick.labelsize": FONT_SIZE,
    "ytick.labelsize": FONT_SIZE,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "hatch.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "lines.markersize": 6.0,
    # Text stays text in SVG files (searchable, small); the salt makes their ids the same in every run.
    # Names from files may hold dollar signs; they are text, not formulas.
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "lth_det",
}


@dataclass(frozen=True)
class Drawing:
    """A finished figure: file name without suffix, vector form and pixel form."""

    name: str
    svg: str
    png: bytes


def render(
    name: str, draw: Callable[[Figure], None], *, width: float, height: float = 3.4
) -> Drawing:
    """Draw a figure and return it as SVG and PNG.

    Args:
        name: file name without suffix.
        draw: fills the empty figure it is given.
        width: inches.
        height: inches.

    Equal input gives equal bytes: no date and no program version is stored.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(SETTINGS):  # type: ignore[arg-type]  # the stubs know fewer keys than matplotlib
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        # Both forms share one layout; computing it again for each file would double the time.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        vector, pixels = io.StringIO(), io.BytesIO()
        figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(pixels, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return Drawing(name, vector.getvalue(), pixels.getvalue())


def sparsity_position(sparsity: float) -> float:
    """Return where ``sparsity`` (0-1) stands on the axis: halvings of the remaining weights.

    0 -> 0, 0.5 -> 1, 0.75 -> 2, NaN -> NaN: equal steps remove equal shares of the survivors, as rounds of one prune rate do.
    """
    if math.isnan(sparsity):
        return math.nan
    return -math.log2(max(1.0 - sparsity, SMALLEST_REMAINING))


def sparsity_axis(axes: Axes, largest: float) -> None:
    """Make the x axis of ``axes`` one of sparsity, with the remaining weights on top.

    Args:
        axes: its data must be placed with ``sparsity_position``.
        largest: largest sparsity drawn, 0-1.
    """
    end = max(sparsity_position(largest), 0.35)
    axes.set_xlim(-0.06 * end, 1.06 * end)
    shown = _spread([sparsity_position(tick) for tick in SPARSITY_TICKS], end)
    axes.set_xticks(
        [sparsity_position(SPARSITY_TICKS[index]) for index in shown],
        [f"{100 * SPARSITY_TICKS[index]:g}" for index in shown],
    )
    axes.set_xlabel("sparsity: zeros among all parameters (%)")
    top = axes.secondary_xaxis("top")
    rest = _spread([sparsity_position(1 - tick) for tick in REMAINING_TICKS], end)
    top.set_xticks(
        [sparsity_position(1 - REMAINING_TICKS[index]) for index in rest],
        [f"{100 * REMAINING_TICKS[index]:g}" for index in rest],
    )
    top.spines["top"].set_visible(False)
    top.tick_params(length=2, labelcolor=MUTED)
    top.set_xlabel("remaining weights (%)", color=MUTED)


def _spread(positions: Sequence[float], end: float) -> list[int]:
    """Return the indices of positions up to ``end``, in order of place, without those too near to an earlier one."""
    gap = end * 0.085
    kept: list[int] = []
    for index, position in enumerate(positions):
        if position <= end * 1.04 and all(abs(position - positions[k]) >= gap for k in kept):
            kept.append(index)
    return sorted(kept, key=lambda index: positions[index])
