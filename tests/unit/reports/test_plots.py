import math
from itertools import pairwise

import pytest

from lth_det.reports.plots import (
    REMAINING_TICKS,
    SPARSITY_TICKS,
    _spread,
    render,
    sparsity_position,
)


@pytest.mark.parametrize(
    ("sparsity", "position"), [(0.0, 0.0), (0.5, 1.0), (0.75, 2.0), (0.875, 3.0)]
)
def test_positions_count_halvings_of_the_remaining_weights(sparsity, position):
    assert sparsity_position(sparsity) == pytest.approx(position)


def test_a_network_without_weights_has_a_finite_position():
    assert math.isfinite(sparsity_position(1.0))


@pytest.mark.parametrize("largest", [0.0, 0.1, 0.5, 0.8, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("ticks", [SPARSITY_TICKS, tuple(1 - tick for tick in REMAINING_TICKS)])
def test_tick_labels_start_at_the_dense_model_and_never_touch(largest, ticks):
    end = max(sparsity_position(largest), 0.35)
    places = [
        sparsity_position(ticks[index]) for index in _spread([*map(sparsity_position, ticks)], end)
    ]
    assert places[0] == 0
    assert all(after - before >= 0.085 * end for before, after in pairwise(places))
    assert max(places) <= 1.04 * end


def test_equal_drawings_give_equal_bytes_without_a_date():
    def draw(figure):
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], label="x")
        axes.bar([0], [1], hatch="//")
        axes.legend()

    first, second = (render("x", draw, width=3) for _ in range(2))
    assert first == second
    assert first.png.startswith(b"\x89PNG")
    assert "dc:date" not in first.svg
