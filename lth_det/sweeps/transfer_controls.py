"""Which controls a source of a plan has, under which names, and at which prune rates."""

from lth_det.sweeps.detector_runs import Target
from lth_det.sweeps.transfer_plan import Source, TransferPlan


def controls_of(plan: TransferPlan, source: Source) -> dict[str, tuple[str, str]]:
    """Return control -> (name of its cells, label) of a source: its own list and the sources of kind ``random``."""
    found = {
        control: (f"{source.name}_{control}", f"{source.label}: {control.replace('_', ' ')}")
        for control in source.controls
    }
    for other in plan.sources:
        if other.kind == "random" and other.of == source.name:
            found[other.control] = (other.name, other.label)
    return found


def control_rates(
    plan: TransferPlan, source: Source, target: Target
) -> dict[str, tuple[float, ...]]:
    """Return control -> prune rates that a source has it at, for a target."""
    listed = {
        other.control: plan.rates_of(other, target)
        for other in plan.sources
        if other.kind == "random" and other.of == source.name
    }
    own = plan.rates_of(source, target)
    return {
        control: tuple(rate for rate in own if rate in listed.get(control, own))
        for control in controls_of(plan, source)
    }


def controls_at(
    plan: TransferPlan, source: Source, target: Target, rate: float
) -> dict[str, tuple[str, str]]:
    """Return :func:`controls_of` a source that it has at one prune rate of a target."""
    rates = control_rates(plan, source, target)
    return {
        control: shown
        for control, shown in controls_of(plan, source).items()
        if rate in rates[control]
    }
