"""Plans of kind ``transfer``: sources x targets x prune rates x seeds, as they stand in the YAML file."""

import dataclasses

from lth_det.errors import ConfigError
from lth_det.sweeps.detector_runs import Target
from lth_det.sweeps.keys import Keys
from lth_det.sweeps.plan_keys import check_rates

KINDS = (
    "own", "classifier", "cross_task", "magnitude", "checkpoint", "rst", "gradual", "random",
)  # fmt: skip
TICKET_KINDS = ("classifier", "cross_task", "magnitude", "checkpoint")
DENSE = "dense"
RANDOM = "random_layer_ratios"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Where tickets come from.

    Attributes:
        name: unique in the plan.
        label: for people.
        kind: one of :data:`KINDS`.
        config: config of the source run (classifier, cross_task).
        target: target of the plan whose own run is the source (cross_task), instead of ``config``.
        files: prune rate -> file that exists already (all ticket kinds); key 0 serves every rate. ``{name}`` in it is the
            folder of the run of source ``name`` (of kind own or classifier, or cross_task with a config) and the same seed.
        one_shot: each rate is pruned from the dense weights in one step (own), instead of from the round before.
        transfer: ``ticket`` or ``mask`` (classifier, cross_task).
        weights: ``source``, ``target``, ``rewind`` (the target's own rewind snapshot) or a file, with ``{name}`` as in
            ``files``.
        seed: one source run of this seed for all seeds; ``None``: one for each.
        rates: prune rates of the source run's rounds; contain those of the plan.
        cells: target -> prune rates of the matrix that the source has cells at; a target that is not named has none.
            Empty: all targets, at all rates of the plan.
        values: ``trained`` or ``rewind``: which weights of the source's round a ``ticket`` transfer takes (classifier,
            cross_task with ``transfer: ticket``). Girish et al. (CVPR 2021, 4.2) take the trained ones.
        arguments: further arguments of ``transfer_ticket.py``, such as ``--fix``.
        controls: names of controls of its runs.
        of: the source whose control it is (random).
        control: the name of that control (random).
        opts: ``KEY VALUE`` arguments of the runs on the target.
        source_opts: of the source run.
    """

    name: str
    label: str
    kind: str
    config: str = ""
    target: str = ""
    files: dict[float, str] = dataclasses.field(default_factory=dict)
    transfer: str = "ticket"
    weights: str = "source"
    seed: int | None = None
    rates: tuple[float, ...] = ()
    one_shot: bool = False
    values: str = "trained"
    arguments: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    of: str = ""
    control: str = RANDOM
    opts: tuple[str, ...] = ()
    source_opts: tuple[str, ...] = ()
    cells: dict[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferPlan:
    """A plan of kind ``transfer``.

    Attributes:
        targets: detectors and tasks.
        sources: in the order of the matrix; there is always one of kind ``own``: its run has the dense round.
        prune_rates: nominal rates of the matrix.
        seeds: of the target's training.
        metrics: Detectron2's names.
    """

    targets: tuple[Target, ...]
    sources: tuple[Source, ...]
    prune_rates: tuple[float, ...]
    seeds: tuple[int, ...]
    metrics: tuple[str, ...]

    @property
    def own(self) -> Source:
        """The first source of kind ``own``: its runs train the dense networks."""
        return next(source for source in self.sources if source.kind == "own")

    def rates_of(self, source: Source, target: Target) -> tuple[float, ...]:
        """Return the prune rates of the matrix that a source has cells at for a target."""
        return source.cells.get(target.name, ()) if source.cells else self.prune_rates


def read_targets(keys: Keys, metrics: list[str]) -> tuple[Target, ...]:
    """Take the mapping ``targets`` of a plan.

    Raises:
        ConfigError: a key is missing or wrong.
    """
    inner = keys.inner("targets")
    found = []
    for name in inner.values:
        one = inner.inner(name)
        target = Target(
            name=name,
            label=one.take("label", str, name),
            config=one.take("config", str),
            metric=one.take("metric", str, metrics[0]),
            opts=one.opts(),
            arguments=tuple(one.strings("arguments", [])),
        )
        one.end()
        if target.metric not in metrics:
            raise ConfigError(f"{one.where}: metric is {target.metric}, not one of metrics.")
        found.append(target)
    if not found:
        raise ConfigError(f"{inner.where} is empty; name at least one target.")
    return tuple(found)


def read_transfer(keys: Keys) -> TransferPlan:
    """Take the keys of a plan of kind ``transfer``.

    Raises:
        ConfigError: a key is missing or wrong, or sources name what is not there.
    """
    metrics = keys.strings("metrics", ["bbox/AP"])
    rates = keys.numbers("prune_rates", float)
    check_rates(f"{keys.where}: prune_rates", rates)
    targets = read_targets(keys, metrics)
    controls = keys.strings("controls", [RANDOM])
    inner = keys.inner("sources")
    names = tuple(target.name for target in targets)
    sources = [_source(inner.inner(name), name, (rates, names), controls) for name in inner.values]
    if not any(source.kind == "own" for source in sources):
        own = Source(
            name="own", label="own ticket", kind="own", rates=tuple(rates), controls=tuple(controls)
        )
        sources.insert(0, own)
    _check(inner.where, sources, targets)
    return TransferPlan(
        targets=targets,
        sources=tuple(sources),
        prune_rates=tuple(rates),
        seeds=tuple(keys.numbers("seeds", int)),
        metrics=tuple(metrics),
    )


def _source(
    keys: Keys, name: str, matrix: tuple[list[float], tuple[str, ...]], controls: list[str]
) -> Source:
    kind = keys.choice("kind", KINDS)
    rates = matrix[0]
    found: dict[str, object] = {
        "name": name,
        "label": keys.take("label", str, name.replace("_", " ")),
        "kind": kind,
        "opts": keys.opts(),
    }
    if kind != "own":
        found["cells"] = _cells(keys, *matrix)
    if kind == "random":
        found |= {"of": keys.take("of", str), "control": keys.take("control", str, RANDOM)}
    if kind == "own" or kind in TICKET_KINDS:
        found["controls"] = tuple(keys.strings("controls", controls))
    if kind in ("own", "classifier", "cross_task"):
        found["rates"] = _source_rates(keys, rates)
    if kind == "own":
        found["one_shot"] = keys.take("one_shot", bool, False)
    if kind in TICKET_KINDS:
        found |= _ticket_source(keys, kind, rates)
    keys.end()
    return Source(**found)  # type: ignore[arg-type]


def _cells(
    keys: Keys, rates: list[float], targets: tuple[str, ...]
) -> dict[str, tuple[float, ...]]:
    """Take ``prune_rates`` of a source: some of the plan's, for all targets or by target."""
    value = keys.values.get("prune_rates")
    if value is None:
        return {}
    if isinstance(value, dict):
        one = keys.inner("prune_rates")
        found = {name: tuple(one.numbers(name, float)) for name in targets if name in value}
        one.taken.update(targets)  # known, if not named
        one.end()
    else:
        found = dict.fromkeys(targets, tuple(keys.numbers("prune_rates", float)))
    if not found:
        raise ConfigError(f"{keys.where}: prune_rates names no target; leave the source out.")
    for name, given in found.items():
        lacking = sorted(set(given) - set(rates))
        if lacking:
            raise ConfigError(
                f"{keys.where}: prune_rates of {name} has {lacking}, which is not in prune_rates of the plan."
            )
    return found


def _source_rates(keys: Keys, rates: list[float]) -> tuple[float, ...]:
    own = keys.numbers("rounds", float, rates)
    check_rates(f"{keys.where}: rounds", own)
    lacking = sorted(set(rates) - set(own))
    if lacking:
        raise ConfigError(f"{keys.where}: rounds lack {lacking}, which is in prune_rates.")
    return tuple(own)


def _ticket_source(keys: Keys, kind: str, rates: list[float]) -> dict[str, object]:
    found: dict[str, object] = {"arguments": tuple(keys.strings("arguments", []))}
    late = keys.values.get("files") == DENSE
    if kind in ("classifier", "cross_task"):
        found["transfer"] = keys.choice(
            "transfer", ("ticket", "mask"), "mask" if kind == "cross_task" else "ticket"
        )
        late = found["transfer"] == "mask"
        found["values"] = keys.choice("values", ("trained", "rewind"), "trained")
        found["seed"] = keys.take("seed", int, None)
        found["source_opts"] = keys.opts("source_opts")
        found["config"] = keys.take("config", str, "")
    # A mask alone is put on what the target had at its own rewind point; a source with weights brings them.
    found["weights"] = keys.take("weights", str, "rewind" if late else "source")
    if kind == "cross_task":
        found["target"] = keys.take("target", str, "")
        if found["target"] and (keys.values.get("rounds") or found["seed"] is not None):
            raise ConfigError(
                f"{keys.where}: with target, rounds and seeds are those of the target's own runs; leave rounds and seed out."
            )
    found["files"] = files = _files(keys, rates)
    given = [name for name in ("config", "target") if found.get(name)] + (
        ["files"] if files else []
    )
    if len(given) != 1:
        allowed = {"classifier": "config or files", "cross_task": "config, target or files"}
        raise ConfigError(
            f"{keys.where}: give exactly one of {allowed.get(kind, 'files')}; there are {given}."
        )
    return found


def _files(keys: Keys, rates: list[float]) -> dict[float, str]:
    value = keys.values.get("files")
    keys.taken.add("files")
    if value is None:
        return {}
    if isinstance(value, str):
        return {0.0: value}
    good = isinstance(value, dict) and all(isinstance(path, str) for path in value.values())
    if not good or set(rates) - set(value):
        raise ConfigError(
            f"{keys.where}: files must be one path, or a mapping of every prune rate to a path."
        )
    return {float(rate): path for rate, path in value.items()}


def _check(where: str, sources: list[Source], targets: tuple[Target, ...]) -> None:
    known = {source.name: source for source in sources}
    for source in sources:
        if source.name == DENSE:
            raise ConfigError(f"{where}: {DENSE} is the name of the dense cells; take another.")
        of = known.get(source.of)
        if source.kind == "random" and (
            of is None or not (of.kind == "own" or of.kind in TICKET_KINDS)
        ):
            raise ConfigError(
                f"{where}: {source.name} is a control of {source.of!r}, which must be a source with tickets."
            )
        if of is not None:
            _check_control(where, source, of)
        if source.target and source.target not in {target.name for target in targets}:
            raise ConfigError(
                f"{where}: {source.name} names the target {source.target}, not in targets."
            )


def _check_control(where: str, source: Source, of: Source) -> None:
    """Refuse prune rates of a control at which the source that it is of has no ticket on any target."""
    lacking = {rate for rates in source.cells.values() for rate in rates} - {
        rate
        for target, rates in source.cells.items()
        for rate in rates
        if not of.cells or rate in of.cells.get(target, ())
    }
    if lacking:
        raise ConfigError(
            f"{where}: {source.name} has prune_rates {sorted(lacking)}, at which {of.name} has no ticket to control for."
        )
