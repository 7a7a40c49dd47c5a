"""The commands of the single runs that plans are made of: IMP runs, ticket runs, classifier runs."""

import dataclasses
from collections.abc import Sequence

from lth_det.sweeps.config_file import config_sha256, config_value
from lth_det.sweeps.model import Run, Work
from lth_det.sweeps.plan_keys import CLASSIFY, TRAIN, TRANSFER, values_text

TRANSFERRED = "transferred.safetensors"
_LATER = ("iteration", "final")  # rewinding after which only the rest of the schedule may remain


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """A detector and its task.

    Attributes:
        name: unique in the plan.
        label: for people.
        config: Detectron2 config file.
        metric: the metric that decides.
        opts: ``KEY VALUE`` arguments for every run of it.
        arguments: further arguments of ``train_net.py``, such as ``--num-gpus 8``.
    """

    name: str
    label: str
    config: str
    metric: str
    opts: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


def identity(*configs: str) -> dict[str, str]:
    """Return what the configs say, by hash, so that an edited config is noticed."""
    return {path: config_sha256(path) for path in configs}


def works(target: Target, opts: Sequence[str], *, dense: bool, pruned: int) -> tuple[Work, ...]:
    """Return the trainings of a run: the dense one if ``dense``, then ``pruned`` tickets or controls."""
    opts = (*target.opts, *opts)
    total = config_value(target.config, "SOLVER.MAX_ITER", opts)
    whole = total if isinstance(total, int) else None
    later = None if whole is None else whole - _start(target.config, opts)
    first = [Work(target.config, whole)] if dense else []
    return (*first, *[Work(target.config, later)] * pruned)


def _start(config: str, opts: Sequence[str]) -> int:
    rest = config_value(config, "LTH.REWIND.SCHEDULE", opts) == "remaining"
    to = config_value(config, "LTH.REWIND.TO", opts) or "iteration"
    start = config_value(config, "LTH.REWIND.ITERATION", opts) or 0
    return int(start) if rest and to in _LATER else 0


def train_command(target: Target, folder: str, seed: int, opts: Sequence[str]) -> tuple[str, ...]:
    """Return the command line of ``train_net.py``."""
    return (
        TRAIN, "--config-file", target.config, "--resume", *target.arguments,
        *target.opts, *opts, "SEED", str(seed), "OUTPUT_DIR", folder,
    )  # fmt: skip


def imp_run(
    target: Target,
    place: tuple[str, str],
    seed: int,
    *,
    rates: Sequence[float],
    controls: Sequence[tuple[Sequence[str], Sequence[int]]] = (),
    opts: Sequence[str] = (),
) -> Run:
    """Return the run that trains the dense detector and its tickets at ``rates``, with controls of some rounds.

    Args:
        target: the detector.
        place: name and folder of the run.
        seed: its seed.
        rates: prune rate after each round.
        controls: names (``LTH.CONTROLS``) with the rounds that get them. Each pair is a command of its own: the second one
            adds its controls to the finished run.
        opts: further ``KEY VALUE`` arguments.
    """
    name, folder = place
    plain = [*opts, "LTH.TARGETS", values_text(list(rates))]
    commands = [
        [*plain, "LTH.CONTROLS", values_text(list(kinds)), "LTH.CONTROL_ROUNDS", values_text(list(rounds))]
        for kinds, rounds in controls
    ]  # fmt: skip
    pruned = len(rates) + sum(len(kinds) * len(rounds) for kinds, rounds in controls)
    return Run(
        name=name,
        folder=folder,
        commands=tuple(train_command(target, folder, seed, one) for one in commands or [plain]),
        work=works(target, plain, dense=True, pruned=pruned),
        identity=identity(target.config),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer:
    """How a ticket of the target is made from something else, by ``transfer_ticket.py``.

    Attributes:
        kind: ``ticket``, ``mask``, ``magnitude`` or ``checkpoint``.
        source: file of the source.
        weights: ``source``, ``target`` or a file: where the weights to start from come from.
        prune_rate: for ``magnitude``.
        arguments: further arguments.
        needs: runs that make the files.
    """

    kind: str
    source: str
    weights: str = "source"
    prune_rate: float | None = None
    arguments: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


def ticket_run(
    target: Target,
    place: tuple[str, str],
    seed: int,
    *,
    transfer: Transfer,
    controls: Sequence[str] = (),
    opts: Sequence[str] = (),
) -> Run:
    """Return the run that transfers a ticket to the target and trains it, with controls.

    Arguments as of :func:`imp_run`; ``transfer`` says where the ticket comes from.
    """
    name, folder = place
    ticket = f"{folder}/{TRANSFERRED}"
    make = [TRANSFER, "--config-file", target.config, "--source", transfer.source]
    make += ["--kind", transfer.kind, "--output", ticket, "--weights", transfer.weights]
    if transfer.prune_rate is not None:
        make += ["--prune-rate", str(transfer.prune_rate)]
    make += [
        *transfer.arguments,
        "--json",
        f"{folder}/transfer.json",
        *target.opts,
        *opts,
        "SEED",
        str(seed),
    ]
    extra = [*opts, "LTH.TICKET", ticket]
    if controls:
        extra += ["LTH.CONTROLS", values_text(list(controls))]
    return Run(
        name=name,
        folder=folder,
        commands=(tuple(make), train_command(target, folder, seed, extra)),
        needs=transfer.needs,
        work=works(target, extra, dense=False, pruned=1 + len(controls)),
        identity=identity(target.config),
    )


def method_run(
    target: Target,
    place: tuple[str, str],
    seed: int,
    *,
    method: str,
    rate: float,
    opts: Sequence[str] = (),
) -> Run:
    """Return the run of a method that needs no dense round: ``rst`` or ``gradual``, at one prune rate."""
    name, folder = place
    extra = ["LTH.METHOD", method, "LTH.TARGETS", values_text([rate]), *opts]
    whole, later = (one.iterations for one in works(target, extra, dense=True, pruned=1))
    # A random ticket is transformed for as long as the dense round takes, then fine-tuned as in a pruned round.
    both = whole if whole is None or later is None or method != "rst" else whole + later
    return Run(
        name=name,
        folder=folder,
        commands=(train_command(target, folder, seed, extra),),
        work=(Work(target.config, both),),
        identity=identity(target.config),
    )


def classifier_run(
    config: str,
    place: tuple[str, str],
    seed: int,
    *,
    rates: Sequence[float],
    opts: Sequence[str] = (),
) -> Run:
    """Return the run that finds tickets of a classifier at ``rates``."""
    name, folder = place
    command = (
        CLASSIFY, "--config-file", config, "--resume", *opts,
        "pruning.targets", values_text(list(rates)), "seed", str(seed), "output", folder,
    )  # fmt: skip
    total = config_value(config, "solver.max_iter", opts)
    iterations = total if isinstance(total, int) and total > 0 else None
    return Run(
        name=name,
        folder=folder,
        commands=(command,),
        work=(Work(config, iterations),) * (1 + len(rates)),
        identity=identity(config),
    )
