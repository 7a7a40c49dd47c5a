"""What a hook loads it saves again, also before training begins: a run killed at its last checkpoint completes it then."""

import pytest
import torch

from lth_det.d2.hooks_gradual import GradualHook
from lth_det.d2.hooks_rst import TransformHook

pytestmark = pytest.mark.d2
STATES = {
    GradualHook: {
        "stopped_at": -1,
        "mask": {"fc.weight": torch.tensor([160], dtype=torch.uint8)},
        "prunings": [[2, 0.5]],
    },
    TransformHook: {"stopped_at": -1, "residuals": [[2, 0.5, 0.25]]},
}


@pytest.mark.parametrize("kind", STATES, ids=lambda kind: kind.__name__)
def test_a_loaded_state_is_saved_again_before_training_begins(kind):
    hook = kind(None, mask_gradients=False) if kind is GradualHook else kind(None)
    hook.load_state_dict(STATES[kind])
    assert hook.state_dict() == STATES[kind]
