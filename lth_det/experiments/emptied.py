"""Which parts of a network a mask cuts off altogether."""

from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterTable


def emptied(table: ParameterTable, mask: Mask) -> list[str]:
    """Return what has no kept weight left, such as ``"group rpn"`` or ``"layer backbone.stem.conv1.weight"``.

    A group is named in place of its layers. Weights that are not in the mask count as kept.

    Args:
        table: parameters of the model.
        mask: true = keep.
    """
    found = []
    for group in table.groups:
        names = [entry.name for entry in table.in_group(group) if entry.name in mask]
        empty = [name for name in names if not bool(mask[name].any())]
        if names and len(empty) == len(names):
            found.append(f"group {group}")
        else:
            found += [f"layer {name}" for name in empty]
    return found
