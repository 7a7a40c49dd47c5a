"""The hook that does what a stage asks for beside training."""

from lth_det.d2.hooks_early_bird import EarlyBirdHook
from lth_det.d2.hooks_gradual import GradualHook
from lth_det.d2.hooks_method import MethodHook
from lth_det.d2.hooks_rst import TransformHook
from lth_det.experiments.protocols import Stage

METHODS = frozenset({"rst", "gradual", "early_bird"})
"""What the stages of a detector can do."""


def method_hook(stage: Stage, *, mask_gradients: bool) -> MethodHook | None:
    """Return the hook of a stage's method, ``None`` for plain training.

    Args:
        stage: at most one of its ``transform``, ``gradual`` and ``early_bird`` is set.
        mask_gradients: whether gradients of pruned weights are zeroed too.
    """
    if stage.transform is not None:
        return TransformHook(stage.transform)
    if stage.gradual is not None:
        return GradualHook(stage.gradual, mask_gradients=mask_gradients)
    if stage.early_bird is not None:
        return EarlyBirdHook(stage.early_bird)
    return None
