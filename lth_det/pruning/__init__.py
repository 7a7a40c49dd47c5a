"""How weights are chosen: criteria, allocations, exact selection, schedules, control masks. Pure torch."""

from lth_det.pruning.allocation import ALLOCATIONS as ALLOCATIONS
from lth_det.pruning.allocation import ErkAllocation as ErkAllocation
from lth_det.pruning.allocation import GlobalAllocation as GlobalAllocation
from lth_det.pruning.allocation import LayerRatioAllocation as LayerRatioAllocation
from lth_det.pruning.allocation import UniformAllocation as UniformAllocation
from lth_det.pruning.allocation import build_allocation as build_allocation
from lth_det.pruning.allocation import register_allocation as register_allocation
from lth_det.pruning.criteria import CRITERIA as CRITERIA
from lth_det.pruning.criteria import MagnitudeCriterion as MagnitudeCriterion
from lth_det.pruning.criteria import RandomCriterion as RandomCriterion
from lth_det.pruning.criteria import build_criterion as build_criterion
from lth_det.pruning.criteria import register_criterion as register_criterion
from lth_det.pruning.gradient_criteria import GraspCriterion as GraspCriterion
from lth_det.pruning.gradient_criteria import SnipCriterion as SnipCriterion
from lth_det.pruning.gradient_criteria import SynFlowCriterion as SynFlowCriterion
from lth_det.pruning.gradient_criteria import TaylorCriterion as TaylorCriterion
from lth_det.pruning.gradual import prune_gradually as prune_gradually
from lth_det.pruning.group_allocation import BudgetAllocation as BudgetAllocation
from lth_det.pruning.group_allocation import GroupAllocation as GroupAllocation
from lth_det.pruning.prune import prune as prune
from lth_det.pruning.schedules import CubicSchedule as CubicSchedule
from lth_det.pruning.schedules import GeometricSchedule as GeometricSchedule
from lth_det.pruning.schedules import OneShotSchedule as OneShotSchedule
from lth_det.pruning.schedules import TargetsSchedule as TargetsSchedule
from lth_det.pruning.selection import select_keep as select_keep
