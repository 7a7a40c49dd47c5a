import dataclasses
import math

import pytest
import torch

from lth_det.errors import MaskMismatchError, ScopeError, TicketFormatError
from lth_det.tickets.inspection import (
    mask_only_table,
    mask_report,
    near_collapse,
    overlap_report,
    size_estimate,
    ticket_report,
    ticket_table,
)
from lth_det.tickets.inspection_text import dry_run_text, overlap_text, ticket_text
from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterEntry, ParameterTable
from lth_det.tickets.table_record import TABLE_KEY, table_to_text
from lth_det.tickets.ticket import Provenance, Ticket

TABLE = ParameterTable(
    [
        ParameterEntry("stem.weight", (2, 5), 10, "stem", True, True),
        ParameterEntry("fc.weight", (3, 3), 9, "box_head", True, False),
        ParameterEntry("fc.bias", (3,), 3, "box_head", False, False, "bias"),
    ]
)


def mask_keeping(counts, shapes=None):
    """Return a mask that keeps the first elements of each parameter."""
    shapes = shapes or {entry.name: entry.shape for entry in TABLE if entry.prunable}
    tensors = {}
    for name, count in counts.items():
        flat = torch.arange(math.prod(shapes[name])) < count
        tensors[name] = flat.reshape(shapes[name])
    return Mask(tensors)


def random_mask(seed, densities, shape=(200, 100)):
    generator = torch.Generator().manual_seed(seed)
    return Mask({n: torch.rand(shape, generator=generator) < d for n, d in densities.items()})


MASK = mask_keeping({"stem.weight": 6, "fc.weight": 4})


def ticket_of(mask, *, table=TABLE, weights=None, **changes):
    pruned = mask.numel - mask.kept
    provenance = Provenance(
        criterion="magnitude",
        scope="global",
        prune_rate=mask.prune_rate,
        prune_rates_by_group={},
        sparsity=pruned / TABLE.total_parameters,
        round=1,
        parent_sha256=None,
        source_task="toy_train",
        source_weights="",
        seed=3,
        rewind="iteration 7",
        extra={} if table is None else {TABLE_KEY: table_to_text(table), "note": "x"},
    )
    return Ticket(mask, weights, dataclasses.replace(provenance, **changes))


def test_sizes_of_the_three_forms_by_hand():
    # 22 parameters, 19 masked in ceil(10/8) + ceil(9/8) bytes, 10 kept, 3 without a mask.
    assert size_estimate(TABLE, MASK) == {
        "dense": 22 * 4,
        "packed_mask": 4 + (10 + 3) * 4,
        "index_and_value": 10 * 8 + 3 * 4,
    }


def test_report_counts_and_lists_frozen_layers_in_scope():
    report = mask_report(TABLE, MASK)
    assert (report["total_parameters"], report["pruned_parameters"]) == (22, 9)
    assert report["sparsity"] == 9 / 22
    assert report["frozen_in_scope"] == ["stem.weight"]
    assert report["groups"]["box_head"]["pruned_parameters"] == 5


def test_mask_outside_the_scope_is_refused():
    outside = Mask({"fc.bias": torch.zeros(3, dtype=torch.bool)})
    with pytest.raises(ScopeError, match=r"fc\.bias"):
        mask_report(TABLE, outside)


def test_layers_near_collapse_are_below_one_percent_thinnest_first():
    shapes = dict.fromkeys("abcd", (200,))
    mask = mask_keeping({"a": 2, "b": 1, "c": 0, "d": 200}, shapes)
    assert near_collapse(mask) == [
        {"name": "c", "kept": 0, "parameters": 200, "density": 0.0},
        {"name": "b", "kept": 1, "parameters": 200, "density": 0.005},
    ]


def test_empty_parameters_are_not_near_collapse():
    assert near_collapse(Mask({"empty": torch.zeros(0, 4, dtype=torch.bool)})) == []


def test_a_ticket_with_its_table_reports_groups_and_hides_the_table_text():
    report = ticket_report(
        ticket_of(MASK, weights={entry.name: torch.zeros(entry.shape) for entry in TABLE})
    )
    assert report["complete"]
    assert set(report["groups"]) == {"stem", "box_head"}
    assert report["provenance"]["extra"] == {"note": "x"}
    assert report["rewind_weights"] == {"tensors": 3}
    assert report["mask_sha256"] == MASK.sha256()


def test_a_ticket_without_a_table_says_so_and_still_knows_its_network_sparsity():
    report = ticket_report(ticket_of(MASK, table=None))
    assert not report["complete"]
    assert report["total_parameters"] == TABLE.total_parameters
    assert report["sparsity"] == 9 / 22
    assert report["prunable_parameters"] == 19
    assert set(report["groups"]) == {"other"}
    assert report["bytes"] is None


def test_a_dense_ticket_without_a_table_has_an_unknown_total():
    report = ticket_report(ticket_of(mask_keeping({"fc.weight": 9}), table=None))
    assert report["total_parameters"] is None
    assert "-" in ticket_text({"file": "f", "file_bytes": 1, "sha256": "s", **report})


def test_a_table_given_by_hand_wins_and_must_fit():
    ticket = ticket_of(MASK, table=None)
    assert ticket_report(ticket, TABLE)["complete"]
    other = ParameterTable([ParameterEntry("fc.weight", (2, 2), 4, "box_head", True, False)])
    with pytest.raises(MaskMismatchError, match=r"fc\.weight"):
        ticket_report(ticket, other)


def test_a_damaged_table_is_an_error_and_no_table_is_none():
    with pytest.raises(TicketFormatError):
        ticket_table(ticket_of(MASK, extra={TABLE_KEY: "nonsense"}))
    assert ticket_table(ticket_of(MASK, table=None)) is None


def test_table_of_a_mask_alone_has_its_parameters():
    table = mask_only_table(MASK)
    assert table.total_parameters == table.prunable_parameters == MASK.numel


def test_equal_masks_have_kappa_one_and_are_nested_both_ways():
    report = overlap_report(MASK, MASK, TABLE.group_of)
    assert (report["iou"], report["kappa"], report["kappa_of_layers"]) == (1.0, 1.0, 1.0)
    assert report["first_nested_in_second"]
    assert report["second_nested_in_first"]
    assert set(report["groups"]) == {"stem", "box_head"}
    assert [row["name"] for row in report["layers"]] == ["fc.weight", "stem.weight"]


def test_overlap_of_one_layer_by_hand():
    shapes = {"w": (10,)}
    report = overlap_report(
        mask_keeping({"w": 6}, shapes), mask_keeping({"w": 3}, shapes), {"w": "rpn"}
    )
    chance = 0.18 / (0.9 - 0.18)
    assert report["iou"] == 3 / 6
    assert report["chance"] == pytest.approx(chance)
    assert report["chance_of_layers"] == pytest.approx(chance)
    assert report["kappa"] == pytest.approx((0.5 - chance) / (1 - chance))
    assert report["densities"] == [0.6, 0.3]
    assert not report["first_nested_in_second"]
    assert report["second_nested_in_first"]


def test_independent_masks_are_at_the_chance_of_layers_but_not_at_plain_chance():
    densities = {"thin": 0.05, "thick": 0.9}
    report = overlap_report(random_mask(1, densities), random_mask(2, densities), {})
    assert abs(report["kappa_of_layers"]) < 0.01
    assert report["kappa"] > 0.3
    assert set(report["groups"]) == {"other"}


def test_parameters_of_one_ticket_only_are_listed_and_left_out():
    first = mask_keeping({"stem.weight": 6, "fc.weight": 4})
    second = Mask(
        {"fc.weight": MASK["fc.weight"], "stem.weight": torch.ones(2, 4, dtype=torch.bool)}
    )
    report = overlap_report(first, second, {})
    assert report["only_in_first"] == ["stem.weight"]
    assert report["only_in_second"] == ["stem.weight"]
    assert report["iou"] == 1.0


def test_tickets_without_a_common_parameter_are_refused():
    with pytest.raises(MaskMismatchError, match="no parameter of the same name and shape"):
        overlap_report(MASK, Mask({"x": torch.ones(2, dtype=torch.bool)}), {})


def test_two_empty_masks_have_no_overlap_value():
    empty = mask_keeping({"fc.weight": 0})
    assert math.isnan(overlap_report(empty, empty, {})["iou"])


def test_printed_forms_hold_the_figures():
    facts = {"file": "t.safetensors", "file_bytes": 2_500_000, "sha256": "ab" * 32}
    one = {**facts, **ticket_report(ticket_of(MASK))}
    text = ticket_text(one)
    assert "t.safetensors (2.50 MB)" in text
    assert "40.91 %" in text  # 9 / 22
    assert "cannot adapt" in text
    both = {"tickets": [one, one], "overlap": overlap_report(MASK, MASK, TABLE.group_of)}
    assert "1.0000" in overlap_text(both)
    dry = mask_report(TABLE, MASK) | {
        "config_file": "c.yaml",
        "preset": "default",
        "scope": "global",
        "criterion": "magnitude",
        "requested_prune_rate": 0.5,
        "weights": "random initialisation (seed 1)",
        "split_depends_on_weights": True,
    }
    assert "Totals are exact" in dry_run_text(dry)
    assert "Totals are exact" not in dry_run_text(dry | {"weights": "model.pth"})
    measured = dry_run_text(dry | {"scope": "sensitivity", "weights": "model.pth"})
    assert "the split above is that of the global scope" in measured
    assert "give trained ones" not in dry_run_text(dry | {"scope": "sensitivity"})
