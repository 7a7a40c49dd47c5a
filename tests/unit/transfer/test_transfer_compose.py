"""From a source to the ticket of a target: what moves, which mask, which weights; nothing is passed over in silence."""

import dataclasses
import json

import pytest
import torch
from transfer_toys import (
    SHAPES,
    UP,
    every_other,
    provenance,
    toy_source,
    toy_table,
    toy_target,
    values_of,
)

from lth_det.errors import ConfigError, DataError, MaskMismatchError, ScopeError
from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterTable
from lth_det.tickets.summary import sparsity_summary
from lth_det.tickets.table_record import TABLE_KEY, table_to_text
from lth_det.tickets.ticket import Ticket
from lth_det.transfer.admission import admitted_table
from lth_det.transfer.compose import TransferRequest, transfer
from lth_det.transfer.matching import match
from lth_det.transfer.preprocessing import IMAGENET_RGB, InputFacts, Preprocessing

STEM = f"{UP}stem.conv1.weight"
RES2 = f"{UP}res2.0.conv1.weight"
RES3 = f"{UP}res3.0.conv1.weight"
FC = "roi_heads.box_head.fc1.weight"
ALL = ("stem", "backbone", "fpn", "box_head")


def run(source, **request):
    return transfer(source, toy_target(), TransferRequest(**request))


def test_a_ticket_moves_mask_weights_and_statistics():
    weights = values_of(SHAPES, 2)
    done = run(toy_source("ticket", masks=every_other(STEM, RES2), provenance=provenance()))
    initial = values_of(SHAPES, 1)
    for name in SHAPES:
        moved = name.startswith(UP)
        assert torch.equal(done.ticket.weights[name], (weights if moved else initial)[name]), name
    assert set(done.ticket.mask) == {STEM, RES2}
    assert done.ticket.provenance.round == 3
    assert done.ticket.provenance.parent_sha256 == "0" * 64
    assert done.summary.total.pruned_parameters == 126
    assert done.ticket.provenance.sparsity == done.summary.total.sparsity


def test_moved_values_are_copies():
    source = toy_source("ticket", masks=every_other(RES2), provenance=provenance())
    done = run(source)
    source.weights["res2.0.conv1.weight"].zero_()
    assert done.ticket.weights[RES2].abs().sum() > 0


def test_a_mask_moves_without_weights():
    done = run(toy_source("mask", masks=every_other(RES2), provenance=provenance()))
    assert done.ticket.weights is None
    assert torch.equal(done.ticket.mask[RES2], every_other(RES2)[RES2])
    with pytest.raises(ConfigError, match="only its mask is asked for"):
        run(toy_source("mask", masks=every_other(RES2)), weights="source")


def test_target_as_start_gives_no_weights():
    source = toy_source("ticket", masks=every_other(RES2), provenance=provenance())
    assert run(source, weights="target").ticket.weights is None


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 0.77])
def test_magnitudes_are_ranked_within_the_declared_scope_only(rate):
    # The head's weights are tiny: a threshold over the whole network would prune it first and the backbone less.
    weights = values_of(SHAPES, 2)
    weights[FC] = weights[FC] * 1e-6
    done = run(toy_source("magnitude", weights=weights), prune_rate=rate)
    expected = [RES2, f"{UP}res2.0.shortcut.weight", RES3]
    assert list(done.ticket.mask) == expected
    total = sum(weights[name].numel() for name in expected)
    assert done.ticket.mask.kept == round(total * (1 - rate))
    scores = torch.cat([weights[name].abs().reshape(-1) for name in expected])
    keep = torch.cat([done.ticket.mask[name].reshape(-1) for name in expected])
    if rate:
        assert scores[keep].min() > scores[~keep].max()
    assert all(torch.equal(done.ticket.weights[name], weights[name]) for name in expected)


def test_magnitude_needs_a_rate_and_something_to_prune():
    with pytest.raises(ConfigError, match="needs --prune-rate"):
        run(toy_source("magnitude"))
    with pytest.raises(ConfigError, match="No weight that moves is prunable"):
        run(toy_source("magnitude"), prune_rate=0.5, groups=["stem"])
    for rate in (-0.1, 1.0, float("nan")):
        with pytest.raises(ConfigError, match=r"lies in \[0, 1\)"):
            run(toy_source("magnitude"), prune_rate=rate)


def sparse(*names):
    return {
        name: value * every_other(name)[name] if name in names else value
        for name, value in values_of(SHAPES, 2).items()
    }


def test_the_zeros_of_a_checkpoint_are_its_mask():
    done = run(toy_source("checkpoint", weights=sparse(STEM, RES2)))
    assert set(done.ticket.mask) == {STEM, RES2}  # layers without zeros stay dense
    assert torch.equal(done.ticket.mask[RES2], every_other(RES2)[RES2])
    assert done.ticket.provenance.criterion == "zeros of the source"


def test_a_kept_zero_is_kept_only_where_a_mask_says_so():
    weights = sparse(RES2)
    weights[RES2][0, 0, 0, 0] = 0.0
    done = run(toy_source("checkpoint", weights=weights))
    assert not done.ticket.mask[RES2][0, 0, 0, 0]
    done = run(toy_source("checkpoint", weights=weights, masks=every_other(RES2)))
    assert done.ticket.mask[RES2][0, 0, 0, 0]


def test_a_dense_checkpoint_is_refused():
    with pytest.raises(DataError, match=r"is dense: 0 of the .* use --kind magnitude"):
        run(toy_source("checkpoint"))
    # A zero here and there is no mask.
    shapes = SHAPES | {RES3: (64, 64, 3, 3)}
    weights = values_of(shapes, 2)
    weights[RES3][0, 0, 0, 0] = 0.0
    with pytest.raises(DataError, match="is dense: 1 of"):
        transfer(toy_source("checkpoint", weights=weights), toy_target(shapes), TransferRequest())


@pytest.mark.parametrize("kind", ["ticket", "checkpoint"])
def test_pruning_on_top_of_a_mask(kind):
    masks = every_other(RES2, RES3)
    given = {"masks": masks} if kind == "ticket" else {"weights": sparse(RES2, RES3)}
    done = run(toy_source(kind, **given), prune_rate=0.8)
    assert done.ticket.mask.prune_rate == pytest.approx(0.8, abs=2e-3)
    assert done.ticket.mask.is_nested_in(Mask(masks))
    with pytest.raises(ConfigError, match=r"has pruned 0\.500000 already"):
        run(toy_source(kind, **given), prune_rate=0.3)


def test_a_mask_without_weights_cannot_be_pruned_further():
    with pytest.raises(ConfigError, match="this source has none"):
        run(toy_source("mask", weights={}, masks=every_other(RES2)), prune_rate=0.8)


def test_other_shapes_are_refused_all_at_once():
    shapes = {name: (*shape[:-1], shape[-1] + 1) for name, shape in SHAPES.items()}
    with pytest.raises(MaskMismatchError, match="these shapes differ") as caught:
        match(toy_source("magnitude", shapes), toy_target())
    for name in SHAPES:
        assert (name in str(caught.value)) == name.startswith(UP)


def test_a_network_that_fits_in_part_is_refused():
    # One block more or less, or a stage that is missing: what fits would load, and pass for success.
    more = SHAPES | {f"{UP}res2.1.conv1.weight": (4, 4, 3, 3)}
    with pytest.raises(MaskMismatchError, match=r"the target has no .*res2\.1\.conv1\.weight"):
        match(toy_source("magnitude", more), toy_target())
    with pytest.raises(MaskMismatchError, match=r"the source has no .*res2\.1\.conv1\.weight"):
        match(toy_source("magnitude"), toy_target(more))
    less = {name: shape for name, shape in SHAPES.items() if "res3" not in name}
    with pytest.raises(MaskMismatchError, match=r"the source has no .*res3\.0\.conv1\.weight"):
        match(toy_source("magnitude", less), toy_target())
    # Another norm layer: running statistics without a place.
    no_statistics = {name: s for name, s in SHAPES.items() if "running_mean" not in name}
    with pytest.raises(MaskMismatchError, match=r"the target has no .*running_mean"):
        match(toy_source("magnitude"), toy_target(no_statistics))


def test_what_is_not_there_is_no_part():
    # The target ends with res2 (DC-like); the source has no FPN; statistics that MSRA's files lack.
    shorter = {name: shape for name, shape in SHAPES.items() if "res3" not in name}
    left = match(toy_source("magnitude"), toy_target(shorter)).source_left
    assert left[RES3] == "the target has no res3"
    no_fpn = {n: s for n, s in SHAPES.items() if "fpn" not in n and "running_mean" not in n}
    found = match(toy_source("ticket", no_fpn), toy_target(), ALL)
    assert found.target_left["backbone.fpn_lateral3.weight"] == "not in the source"
    assert found.target_left[f"{UP}stem.conv1.norm.running_mean"] == "not in the source"
    assert FC in {row.target for row in found.matched}


def test_nothing_in_common_is_refused():
    with pytest.raises(MaskMismatchError, match=r"Nothing of toy\.pth has a place"):
        match(toy_source("mask", weights={}, masks=every_other(RES2)), toy_target(), ["fpn"])
    with pytest.raises(ConfigError, match="--groups has 'neck'"):
        match(toy_source("ticket"), toy_target(), ["neck"])
    with pytest.raises(ConfigError, match="names mask_head, but the target has only stem"):
        match(toy_source("ticket"), toy_target(), ["mask_head"])


def test_a_transferred_ticket_may_prune_what_the_target_freezes():
    done = run(toy_source("ticket", masks=every_other(STEM, RES2), provenance=provenance()))
    with pytest.raises(ScopeError, match="stem"):
        sparsity_summary(toy_table(), done.ticket.mask)
    table = admitted_table(toy_table(), done.ticket)
    assert sparsity_summary(table, done.ticket.mask).total.pruned_parameters == 126
    added = set(table.prunable_names) - set(toy_table().prunable_names)
    assert added == {STEM}
    assert isinstance(table, ParameterTable)
    # Any other ticket keeps to the rules of the run.
    plain = dataclasses.replace(done.ticket, provenance=provenance())
    assert admitted_table(toy_table(), plain) is not None
    with pytest.raises(ScopeError):
        sparsity_summary(admitted_table(toy_table(), plain), plain.mask)


def test_norm_layers_are_never_admitted():
    name = f"{UP}stem.conv1.norm.weight"
    mask = Mask({name: torch.tensor([True, False, True, True])})
    ticket = Ticket(mask, None, provenance({"transfer": "{}"}))
    with pytest.raises(ScopeError, match="norm"):
        sparsity_summary(admitted_table(toy_table(), ticket), mask)


def test_the_provenance_says_where_it_comes_from():
    done = run(toy_source("ticket", masks=every_other(RES2), provenance=provenance()))
    extra = json.loads(done.ticket.provenance.extra["transfer"])
    assert extra["kind"] == "ticket"
    assert extra["source_sha256"] == "0" * 64
    assert extra["groups"] == ["stem", "backbone"]
    assert json.loads(done.ticket.provenance.extra["preprocessing"])["format"] == "RGB"
    again = run(toy_source("ticket", masks=every_other(RES2), provenance=provenance()))
    assert again.ticket.provenance == done.ticket.provenance


def test_a_mask_alone_is_known_as_a_detectors_by_the_table_of_its_ticket():
    # Pruned were the backbone and the FPN only, so no name of the mask is one of the RPN.
    masks = every_other(RES2, "backbone.fpn_lateral3.weight")
    whole = {**SHAPES, "proposal_generator.rpn_head.conv.weight": (4, 4, 3, 3)}
    table = {TABLE_KEY: table_to_text(toy_table(whole))}
    source = toy_source("mask", masks=masks, weights={}, provenance=provenance(table))
    assert set(run(source).ticket.mask) == set(masks)
    without = toy_source("mask", masks=masks, weights={}, provenance=provenance())
    assert set(run(without).ticket.mask) == {RES2}


def test_nothing_is_folded_where_the_first_convolution_stays():
    target = toy_target()
    target = dataclasses.replace(target, options={**target.options, "INPUT.FORMAT": "BGR"})
    bgr = Preprocessing("BGR", IMAGENET_RGB.mean[::-1], IMAGENET_RGB.std[::-1])
    target.options["MODEL.PIXEL_MEAN"] = list(bgr.mean)
    target.options["MODEL.PIXEL_STD"] = list(bgr.std)
    target = dataclasses.replace(target, inputs=InputFacts(bgr, None, "the target"))
    source = toy_source("ticket", masks=every_other(RES2), provenance=provenance())
    request = TransferRequest(policy="fold")
    assert "rewritten" in transfer(source, target, request).inputs.note
    with pytest.raises(ConfigError, match="the first convolution does not move"):
        transfer(source, target, dataclasses.replace(request, groups=("backbone",)))
