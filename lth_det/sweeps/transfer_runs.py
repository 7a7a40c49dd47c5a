"""From a plan of kind ``transfer`` to its runs and the cells they fill; pure functions."""

import dataclasses
import re
from typing import Any

from lth_det.errors import ConfigError
from lth_det.sweeps.detector_runs import (
    TRANSFERRED,
    Target,
    Transfer,
    classifier_run,
    imp_run,
    method_run,
    ticket_run,
)
from lth_det.sweeps.model import Cell, Run
from lth_det.sweeps.plan_keys import rate_text
from lth_det.sweeps.transfer_controls import control_rates, controls_at, controls_of
from lth_det.sweeps.transfer_plan import DENSE, Source, TransferPlan

# A ticket whose weights were never trained on the target has the whole schedule before it, whatever the target's own
# tickets skip: they have already seen the images up to their rewind point.
_WHOLE_SCHEDULE = ("LTH.REWIND.TO", "init")
_PLACE = re.compile(r"\{(\w+)\}")


@dataclasses.dataclass
class Expansion:
    """Runs and cells collected so far; a run that several cells need is made once."""

    plan: TransferPlan
    output: str
    runs: dict[str, Run] = dataclasses.field(default_factory=dict)
    cells: list[Cell] = dataclasses.field(default_factory=list)

    def place(self, name: str) -> tuple[str, str]:
        """Return name and folder of a run."""
        return name, f"{self.output}/runs/{name}"

    def add(self, run: Run) -> Run:
        """Keep a run; one of the same name must be the same run.

        Raises:
            ConfigError: two different runs would have one name.
        """
        known = self.runs.setdefault(run.name, run)
        if known != run:
            raise ConfigError(
                f"Two runs of the plan would be named {run.name}; rename a source or target."
            )
        return known


def expand_transfer(plan: TransferPlan, output: str) -> tuple[list[Run], list[Cell]]:
    """Return the runs of a plan and the cells of its matrix.

    Args:
        plan: the plan.
        output: folder of the sweep.

    Raises:
        ConfigError: a config file is missing, or names clash.
    """
    expansion = Expansion(plan, output)
    for target in plan.targets:
        for seed in plan.seeds:
            for number, source in enumerate(s for s in plan.sources if s.kind == "own"):
                _own(expansion, source, target, seed, dense=number == 0)
            for source in plan.sources:
                if source.kind in ("rst", "gradual"):
                    _method(expansion, source, target, seed)
                elif source.kind not in ("own", "random"):
                    _tickets(expansion, source, target, seed)
    return list(expansion.runs.values()), expansion.cells


def source_facts(plan: TransferPlan) -> list[dict[str, Any]]:
    """Return the sources for ``cells.json``, each followed by its controls."""
    facts = []
    for source in plan.sources:
        if source.kind == "random":
            continue
        facts.append(_fact(source.name, source.label, source.kind, None))
        random = {other.name for other in plan.sources if other.kind == "random"}
        for control, (name, label) in controls_of(plan, source).items():
            # A control that the plan lists as a source of its own also stands in for sources that have none.
            of = None if name in random else source.name
            facts.append(_fact(name, label, control, of, control=True))
    return facts


def _fact(
    name: str, label: str, kind: str, of: str | None, *, control: bool = False
) -> dict[str, Any]:
    return {"name": name, "label": label, "kind": kind, "control": control, "control_of": of}


def own_run(expansion: Expansion, own: Source, target: Target, seed: int) -> Run:
    """Return the run of a target that trains it dense and finds its own tickets; added if it is not there yet."""
    plan = expansion.plan
    rates = own.rates[:1] if own.one_shot else own.rates
    controls: dict[tuple[int, ...], list[str]] = {}
    for control, at in control_rates(plan, own, target).items():
        rounds = tuple(rates.index(rate) + 1 for rate in at if rate in rates)
        if rounds:
            controls.setdefault(rounds, []).append(control)
    return expansion.add(
        imp_run(
            target,
            expansion.place(f"{own.name}-{target.name}-seed{seed}"),
            seed,
            rates=rates,
            controls=[(kinds, rounds) for rounds, kinds in controls.items()],
            opts=own.opts,
        )
    )


def _one_shot_run(expansion: Expansion, own: Source, target: Target, seed: int, rate: float) -> Run:
    """Return the run of one rate of a one-shot source: what a round pruned from the dense weights by that rate would be."""
    dense = own_run(expansion, own, target, seed)
    # Early-bird masks are those of the dense round, which is in the other run.
    off = ("LTH.EARLY_BIRD.ENABLED", "False") if "LTH.EARLY_BIRD.ENABLED" in own.opts else ()
    transfer = Transfer(
        kind="magnitude",
        source=f"{dense.folder}/round_00/model_final.pth",
        weights=f"{dense.folder}/round_00/rewind.safetensors",
        prune_rate=rate,
        arguments=("--groups", "all"),
        needs=(dense.name,),
    )
    return expansion.add(
        ticket_run(
            target,
            expansion.place(f"{own.name}-{target.name}-{rate_text(rate)}-seed{seed}"),
            seed,
            transfer=transfer,
            controls=tuple(controls_at(expansion.plan, own, target, rate)),
            opts=(*own.opts, *off),
        )
    )


def _own(expansion: Expansion, source: Source, target: Target, seed: int, *, dense: bool) -> None:
    run = own_run(expansion, source, target, seed)
    if dense:
        expansion.cells.append(
            Cell(source=DENSE, target=target.name, prune_rate=0.0, seed=seed, run=run.name, round=0)
        )
    for rate in expansion.plan.prune_rates:
        place: tuple[str, int | None] = run.name, source.rates.index(rate) + 1
        if source.one_shot and rate != source.rates[0]:
            place = _one_shot_run(expansion, source, target, seed, rate).name, None
        controls = controls_at(expansion.plan, source, target, rate)
        _cells(expansion, (source.name, controls), (target.name, rate, seed), place)


def _cells(
    expansion: Expansion,
    source: tuple[str, dict[str, tuple[str, str]]],
    where: tuple[str, float, int],
    run: tuple[str, int | None],
) -> None:
    target, rate, seed = where
    name, controls = source
    entries = [(name, None)] + [(shown, control) for control, (shown, _) in controls.items()]
    for shown, control in entries:
        expansion.cells.append(
            Cell(
                source=shown,
                target=target,
                prune_rate=rate,
                seed=seed,
                run=run[0],
                round=run[1],
                control=control,
            )
        )


def _method(expansion: Expansion, source: Source, target: Target, seed: int) -> None:
    for rate in expansion.plan.rates_of(source, target):
        place = expansion.place(f"{source.name}-{target.name}-{rate_text(rate)}-seed{seed}")
        run = expansion.add(
            method_run(target, place, seed, method=source.kind, rate=rate, opts=source.opts)
        )
        _cells(expansion, (source.name, {}), (target.name, rate, seed), (run.name, None))


def _tickets(expansion: Expansion, source: Source, target: Target, seed: int) -> None:
    if source.target == target.name:
        return  # the target's own ticket, which the source of kind "own" is
    for rate in expansion.plan.rates_of(source, target):
        controls = controls_at(expansion.plan, source, target, rate)
        transfer = _transfer(expansion, source, target, seed, rate)
        late = source.weights == "rewind"
        run = expansion.add(
            ticket_run(
                target,
                expansion.place(f"{source.name}-{target.name}-{rate_text(rate)}-seed{seed}"),
                seed,
                transfer=transfer,
                controls=tuple(controls),
                opts=source.opts if late else (*_WHOLE_SCHEDULE, *source.opts),
            )
        )
        _cells(expansion, (source.name, controls), (target.name, rate, seed), (run.name, None))


def _transfer(
    expansion: Expansion, source: Source, target: Target, seed: int, rate: float
) -> Transfer:
    path, needs = _file(expansion, source, target, seed, rate)
    weights, more = _filled(expansion, source.weights, target, seed)
    needs = tuple(dict.fromkeys((*needs, *more)))
    if weights == "rewind":
        own = own_run(expansion, expansion.plan.own, target, seed)
        weights = f"{own.folder}/round_00/rewind.safetensors"
        needs = tuple(dict.fromkeys((*needs, own.name)))
    return Transfer(
        kind=source.transfer if source.kind in ("classifier", "cross_task") else source.kind,
        source=path,
        weights=weights,
        prune_rate=rate if source.kind == "magnitude" else None,
        arguments=source.arguments,
        needs=needs,
    )


def _file(
    expansion: Expansion, source: Source, target: Target, seed: int, rate: float
) -> tuple[str, tuple[str, ...]]:
    """Return the file of the source at a rate and the runs that make it."""
    if source.files:
        path = source.files.get(rate, source.files.get(0.0, ""))
        if path != DENSE:
            return _filled(expansion, path, target, seed)
        dense = own_run(expansion, expansion.plan.own, target, seed)
        return f"{dense.folder}/round_00/model_final.pth", (dense.name,)
    run = _source_run(expansion, source, seed if source.seed is None else source.seed)
    # transfer_ticket.py takes the trained weights of a stage's folder, and the rewind weights of a ticket file.
    trained = source.transfer == "ticket" and source.values == "trained"
    own = expansion.plan.own
    if source.target and own.one_shot and rate != own.rates[0]:
        run = _one_shot_run(expansion, own, _target_of(expansion, source), seed, rate)
        return f"{run.folder}/{'ticket' if trained else TRANSFERRED}", (run.name,)
    rates = own.rates if source.target else source.rates
    stage = f"{run.folder}/round_{rates.index(rate) + 1:02d}"
    return stage if trained else f"{stage}/ticket.safetensors", (run.name,)


def _filled(
    expansion: Expansion, path: str, target: Target, seed: int
) -> tuple[str, tuple[str, ...]]:
    """Return ``path`` with the folders of runs in place of ``{source}``, and the runs it then needs."""
    needs: list[str] = []
    for name in _PLACE.findall(path):
        other = next((source for source in expansion.plan.sources if source.name == name), None)
        if other is not None and other.kind == "own":
            run = own_run(expansion, other, target, seed)
        elif other is not None and other.config:
            run = _source_run(expansion, other, seed if other.seed is None else other.seed)
        else:
            raise ConfigError(
                f"The plan has a file {path}, but {name} is no source with a run of its own (kind own or classifier)."
            )
        path, needs = path.replace(f"{{{name}}}", run.folder), [*needs, run.name]
    return path, tuple(needs)


def _target_of(expansion: Expansion, source: Source) -> Target:
    return next(target for target in expansion.plan.targets if target.name == source.target)


def _source_run(expansion: Expansion, source: Source, seed: int) -> Run:
    place = expansion.place(f"{source.name}-source-seed{seed}")
    if source.kind == "classifier":
        return expansion.add(
            classifier_run(source.config, place, seed, rates=source.rates, opts=source.source_opts)
        )
    if source.target:
        return own_run(expansion, expansion.plan.own, _target_of(expansion, source), seed)
    target = Target(name=source.name, label=source.label, config=source.config, metric="")
    return expansion.add(imp_run(target, place, seed, rates=source.rates, opts=source.source_opts))
