"""The hook that does what a stage asks for beside training."""

from typing import Any

from lth_det.d2.hooks_method import MethodHook
from lth_det.d2.hooks_rst import TransformHook
from lth_det.experiments.protocols import Stage

METHODS = frozenset({"rst", "gradual", "early_bird"})
"""What the stages of a detector can do."""


def method_hook(cfg: Any, stage: Stage) -> MethodHook | None:
    """Return the hook of a stage's method, ``None`` for plain training.

    Args:
        cfg: the configuration of the stage.
        stage: at most one of its ``transform``, ``gradual`` and ``early_bird`` is set.
    """
    del cfg
    if stage.transform is not None:
        return TransformHook(stage.transform)
    return None
