import json

import pytest
import torch

from lth_det.errors import MaskMismatchError, ScopeError
from lth_det.tickets import Mask, ParameterEntry, ParameterTable, sparsity_summary, sparsity_table


@pytest.fixture
def table():
    return ParameterTable(
        [
            ParameterEntry("conv.weight", (2, 4), 8, "backbone", True, False),
            ParameterEntry("conv.bias", (2,), 2, "backbone", False, False, "bias"),
            ParameterEntry("fpn.weight", (10,), 10, "fpn", True, True),
            ParameterEntry("cls.weight", (5,), 5, "predictors", False, False, "predictor"),
        ]
    )


@pytest.fixture
def mask():
    return Mask(
        {"conv.weight": torch.arange(8).reshape(2, 4) < 2, "fpn.weight": torch.arange(10) < 9}
    )


def test_literal_json(table, mask):
    summary = sparsity_summary(table, mask).to_dict()
    layers = summary.pop("layers")
    assert summary == {
        "total_parameters": 25,
        "prunable_parameters": 18,
        "pruned_parameters": 7,
        "sparsity": 7 / 25,
        "prune_rate": 7 / 18,
        "groups": {
            "backbone": {
                "total_parameters": 10,
                "prunable_parameters": 8,
                "pruned_parameters": 6,
                "sparsity": 0.6,
                "prune_rate": 0.75,
            },
            "fpn": {
                "total_parameters": 10,
                "prunable_parameters": 10,
                "pruned_parameters": 1,
                "sparsity": 0.1,
                "prune_rate": 0.1,
            },
            "predictors": {
                "total_parameters": 5,
                "prunable_parameters": 0,
                "pruned_parameters": 0,
                "sparsity": 0.0,
                "prune_rate": 0.0,
            },
        },
    }
    assert layers[0] == {
        "name": "conv.weight",
        "group": "backbone",
        "shape": [2, 4],
        "total_parameters": 8,
        "prunable": True,
        "pruned_parameters": 6,
    }
    assert [layer["name"] for layer in layers] == [
        "conv.weight",
        "conv.bias",
        "fpn.weight",
        "cls.weight",
    ]
    json.dumps(summary)


def test_without_a_mask_everything_is_dense(table):
    summary = sparsity_summary(table, None)
    assert summary.total.pruned_parameters == 0
    assert summary.total.prunable_parameters == 18
    partly = sparsity_summary(table, Mask({"fpn.weight": torch.zeros(10, dtype=torch.bool)}))
    assert partly.total.pruned_parameters == 10
    assert partly.groups["backbone"].pruned_parameters == 0


def test_a_mask_of_another_network_is_refused(table):
    with pytest.raises(MaskMismatchError, match=r"unexpected x; wrong shape conv\.weight \(4, 2\)"):
        sparsity_summary(
            table, Mask.ones_like({"conv.weight": torch.ones(4, 2), "x": torch.ones(1)})
        )


def test_a_mask_of_another_scope_is_refused_if_it_prunes(table):
    dense = Mask({"cls.weight": torch.ones(5, dtype=torch.bool)})
    assert sparsity_summary(table, dense).total.pruned_parameters == 0
    with pytest.raises(ScopeError, match=r"prunes cls\.weight, which this scope does not allow"):
        sparsity_summary(table, Mask({"cls.weight": torch.arange(5) < 4}))


def test_printed_form(table, mask):
    lines = sparsity_table(sparsity_summary(table, mask)).splitlines()
    assert lines[0].split() == [
        "group",
        "parameters",
        "prunable",
        "pruned",
        "sparsity",
        "prune",
        "rate",
    ]
    assert lines[2].split() == ["backbone", "10", "8", "6", "60.00", "%", "75.00", "%"]
    assert lines[4].split() == ["predictors", "5", "0", "0", "0.00", "%", "-"]
    assert lines[-1].split() == ["network", "25", "18", "7", "28.00", "%", "38.89", "%"]
    assert len({len(line) for line in lines}) == 1


def test_an_empty_table():
    summary = sparsity_summary(ParameterTable([]), None)
    assert summary.total.sparsity == 0.0
    assert "network" in sparsity_table(summary)
