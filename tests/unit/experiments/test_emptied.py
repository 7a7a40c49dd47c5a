import torch

from lth_det.experiments.emptied import emptied
from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterEntry, ParameterTable


def entry(name, group, *, prunable=True):
    return ParameterEntry(
        name=name,
        shape=(2, 3),
        numel=6,
        group=group,
        prunable=prunable,
        frozen=False,
        reason="" if prunable else "bias",
    )


TABLE = ParameterTable(
    [
        entry("a", "backbone"),
        entry("b", "backbone"),
        entry("c", "rpn"),
        entry("d", "rpn", prunable=False),
    ]
)


def mask(**kept):
    return Mask({name: torch.full((2, 3), value, dtype=torch.bool) for name, value in kept.items()})


def test_a_layer_is_named_alone_and_a_group_in_place_of_its_layers():
    assert emptied(TABLE, mask(a=True, b=True, c=True)) == []
    assert emptied(TABLE, mask(a=True, b=False, c=True)) == ["layer b"]
    assert emptied(TABLE, mask(a=False, b=False, c=True)) == ["group backbone"]
    assert emptied(TABLE, mask(a=False, b=True, c=False)) == ["layer a", "group rpn"]


def test_one_kept_weight_is_enough():
    one = torch.zeros(2, 3, dtype=torch.bool)
    one[1, 2] = True
    assert emptied(TABLE, Mask({"a": one, "c": one})) == []
