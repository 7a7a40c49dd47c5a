"""The invariants of lottery-ticket training as functions of tensors, masks and models; torch only."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lth_det.errors import LthDetError, MaskMismatchError
from lth_det.tickets.differences import list_names, same_bits
from lth_det.tickets.mask import Mask
from lth_det.tickets.scope import ParameterTable
from lth_det.tickets.ticket import Ticket


class BrokenInvariantError(AssertionError):
    """Something that must always hold in lottery-ticket training does not."""


def check_holds_zeros(state: Mapping[str, Tensor], mask: Mask, *, what: str = "the model") -> None:
    """Check that every pruned weight is exactly zero; for weights in memory, and for copies such as an EMA.

    Args:
        state: name -> tensor, at least all names of the mask; a leading ``module.`` is ignored.
        mask: true = keep.
        what: where the weights are, for the sentence.

    Raises:
        BrokenInvariantError: a name is missing, a shape differs, or a pruned weight is not zero (NaN counts).
    """
    plain = {name.removeprefix("module."): value for name, value in state.items()}
    missing = [name for name in mask if name not in plain]
    if missing:
        raise BrokenInvariantError(
            f"{what} lacks parameters of the mask: {list_names(missing)}; nothing can be held at zero there."
        )
    revived = {}
    for name, keep in mask.items():
        value = plain[name].detach().cpu()
        if value.shape != keep.shape:
            raise BrokenInvariantError(
                f"{what}: {name} has the shape {tuple(value.shape)}, its mask {tuple(keep.shape)}."
            )
        count = int(torch.count_nonzero(value[~keep]))
        if count:
            revived[name] = count
    if revived:
        raise BrokenInvariantError(
            f"{what}: {sum(revived.values())} pruned weights are not zero, in {list_names(revived)}."
        )


def check_files_hold_zeros(files: Iterable[str | os.PathLike[str]], mask: Mask) -> None:
    """Check that in each checkpoint every set of weights (model, EMA, ...) has zeros where the mask prunes.

    Args:
        files: checkpoints that ``torch.load(weights_only=True)`` reads; dictionaries inside are searched.
        mask: true = keep.

    Raises:
        BrokenInvariantError: there is no file, a file has no weights of the mask, or a pruned weight is not zero.
    """
    number = 0
    for file in files:
        number += 1
        content = torch.load(file, map_location="cpu", weights_only=True)
        states = list(_states(content, mask, ""))
        if not states:
            raise BrokenInvariantError(f"{file} holds no weights that the mask names.")
        for place, state in states:
            check_holds_zeros(state, mask, what=f"{file}{place}")
    if not number:
        raise BrokenInvariantError("No file was saved, so none was checked.")


def _states(content: Any, mask: Mask, place: str) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    if not isinstance(content, Mapping):
        return
    names = {str(name).removeprefix("module.") for name in content}
    if any(name in names for name in mask):
        yield place, content
        return
    for key, value in content.items():
        yield from _states(value, mask, f"{place}[{key!r}]")


def check_training_holds_zeros(
    model: nn.Module,
    mask: Mask,
    *,
    step: Callable[[], object],
    hold: Callable[[], object],
    steps: int = 5,
) -> None:
    """Check that pruned weights are zero after each of ``steps`` steps, and that the steps train.

    Use an optimizer that could bring them back: momentum, weight decay, AdamW, from a warm state if possible.

    Args:
        model: its parameters are checked.
        mask: true = keep; the caller has applied it once.
        step: forward, backward and optimizer step.
        hold: what keeps the zeros, called after each step; ``lambda: None`` if the step does it.
        steps: how many.

    Raises:
        BrokenInvariantError: a pruned weight came back, or no kept weight moved.
    """
    parameters = dict(model.named_parameters())
    before = {name: parameters[name].detach().clone() for name in mask if name in parameters}
    for number in range(1, steps + 1):
        step()
        hold()
        check_holds_zeros(parameters, mask, what=f"the model after step {number}")
    if all(same_bits(before[name], parameters[name]) for name in mask):
        raise BrokenInvariantError(
            f"{steps} steps moved no masked parameter, so nothing was checked."
        )


def check_nested(masks: Sequence[Mask]) -> None:
    """Check that each mask keeps nothing that the one before it prunes.

    Raises:
        BrokenInvariantError: one does, or two masks are not of the same parameters.
    """
    for number, (first, second) in enumerate(itertools.pairwise(masks), 1):
        try:
            grown = [name for name in second if bool((second[name] & ~first[name]).any())]
            fits = set(first) == set(second)
        except (KeyError, RuntimeError):
            grown, fits = [], False
        if not fits:
            raise BrokenInvariantError(f"Masks {number - 1} and {number} are of other parameters.")
        if grown:
            raise BrokenInvariantError(
                f"Mask {number} keeps weights that mask {number - 1} pruned, in {list_names(grown)}."
            )


def check_frozen(
    table: ParameterTable, mask: Mask, before: Mapping[str, Tensor], after: Mapping[str, Tensor]
) -> None:
    """Check what became of frozen parameters: not moved by training, and not pruned unless the table says so.

    Args:
        table: the parameters and whether they are frozen and prunable.
        mask: of the training.
        before: state dict when training began (the mask not yet applied, or applied).
        after: state dict when it ended.

    Raises:
        BrokenInvariantError: a frozen weight moved, or one was pruned that is not prunable.
    """
    entries = {entry.name: entry for entry in table}
    wrong = [name for name in mask if name not in entries or not entries[name].prunable]
    if wrong:
        raise BrokenInvariantError(f"The mask prunes what is not prunable: {list_names(wrong)}.")
    moved = []
    for name, entry in entries.items():
        if not entry.frozen:
            continue
        expected = before[name].detach().cpu().clone()
        if name in mask:
            expected[~mask[name]] = 0.0
        if not same_bits(expected, after[name]):
            moved.append(name)
    if moved:
        raise BrokenInvariantError(f"Training moved frozen parameters: {list_names(moved)}.")


def check_shared_once(model: nn.Module, table: ParameterTable, mask: Mask) -> None:
    """Check that a tensor used under several names (shared heads, tied weights) is counted and masked once.

    Raises:
        BrokenInvariantError: the table or the mask has a tensor twice, lacks one, or the counts are wrong.
    """
    names_of: dict[int, list[str]] = {}
    size_of: dict[int, int] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names_of.setdefault(id(parameter), []).append(name)
        size_of[id(parameter)] = parameter.numel()
    listed = {entry.name for entry in table}
    for names in names_of.values():
        for holder, where in ((listed, "table"), (set(mask), "mask")):
            found = [name for name in names if name in holder]
            if len(found) > 1:
                raise BrokenInvariantError(
                    f"The {where} has one tensor twice: {list_names(found)}."
                )
            if where == "table" and not found:
                raise BrokenInvariantError(f"The table lacks {list_names(names)}.")
    total = sum(size_of.values())
    if table.total_parameters != total:
        raise BrokenInvariantError(
            f"The table counts {table.total_parameters} parameters, but the model has {total}."
        )


def check_same_weights(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], *, what: str
) -> None:
    """Check that two state dicts are equal to the bit.

    Args:
        first: one state dict.
        second: the other one.
        what: the sentence's subject, such as ``"Resumed and unbroken training"``.

    Raises:
        BrokenInvariantError: names, shapes or bits differ.
    """
    names = [
        name
        for name in {**first, **second}
        if name not in first or name not in second or not same_bits(first[name], second[name])
    ]
    if names:
        raise BrokenInvariantError(f"{what} differ in {list_names(names)}.")


def check_wrong_model_is_refused(
    ticket: Ticket,
    model: nn.Module,
    *,
    load: Callable[[nn.Module, Ticket], object],
) -> None:
    """Check that a ticket of another model is refused, that every difference is named, and that nothing changed.

    Args:
        ticket: one whose mask does not fit ``model``.
        model: the wrong model.
        load: what puts a ticket into a model.

    Raises:
        BrokenInvariantError: it was loaded, a difference is not in the error's ``differences``, or the model changed.
        ValueError: the ticket fits the model, so that nothing can be checked.
    """
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    expected = [name for name, shape in ticket.mask.shapes.items() if shapes.get(name) != shape]
    if not expected:
        raise ValueError("The ticket fits this model; give another one.")
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    try:
        load(model, ticket)
    except MaskMismatchError as error:
        stated = " ".join(error.differences)
        unnamed = [name for name in expected if name not in stated]
    except LthDetError as error:
        raise BrokenInvariantError(f"The refusal lists no differences: {error}") from error
    else:
        raise BrokenInvariantError(
            f"A ticket of another model was loaded; it does not fit in {list_names(expected)}."
        )
    if unnamed:
        raise BrokenInvariantError(f"The refusal does not name {list_names(unnamed)}.")
    check_same_weights(before, model.state_dict(), what="The model before and after the refusal")
