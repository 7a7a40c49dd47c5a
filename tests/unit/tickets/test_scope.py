import pytest
import torch
from torch import nn

from lth_det.errors import ScopeError
from lth_det.tickets.scope import GROUPS, ParameterEntry, ParameterTable, parameter_table


def entry(name, group="backbone", numel=10, prunable=True):
    return ParameterEntry(name, (numel,), numel, group, prunable, False, "" if prunable else "bias")


def test_sums_and_names():
    table = ParameterTable([entry("a"), entry("b", "fpn", 5), entry("c", "fpn", 3, prunable=False)])
    assert table.total_parameters == 18
    assert table.prunable_parameters == 15
    assert table.prunable_names == ("a", "b")
    assert [e.name for e in table.in_group("fpn")] == ["b", "c"]
    assert table.in_group("rpn") == ()
    assert table.group_of == {"a": "backbone", "b": "fpn", "c": "fpn"}
    assert table[1].name == "b"
    assert table[1:].prunable_names == ("b",)


def test_groups_come_in_the_order_of_tables():
    table = ParameterTable([entry("x", "mine"), entry("p", "predictors"), entry("s", "stem")])
    assert table.groups == ("stem", "predictors", "mine")
    assert GROUPS[0] == "stem"


def test_a_name_must_not_come_twice():
    with pytest.raises(ScopeError, match="twice: a"):
        ParameterTable([entry("a"), entry("b"), entry("a")])


def test_table_of_a_model_lists_shared_parameters_once():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    model[0].bias.requires_grad_(False)
    named = model.named_parameters(remove_duplicate=False)
    table = parameter_table(
        named, lambda name, _: f"g{name[0]}", lambda name, p: "" if p.ndim > 1 else "bias"
    )
    assert [e.name for e in table] == ["0.weight", "0.bias"]
    assert table[0] == ParameterEntry("0.weight", (2, 2), 4, "g0", True, False, "")
    assert table[1] == ParameterEntry("0.bias", (2,), 2, "g0", False, True, "bias")


def test_equal_values_do_not_make_parameters_shared():
    one = torch.ones(2)
    table = parameter_table([("a", one), ("b", one.clone())], lambda *_: "g", lambda *_: "")
    assert len(table) == 2
