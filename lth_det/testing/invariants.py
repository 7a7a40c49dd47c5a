"""The invariants of lottery-ticket training for one configuration, as pytest tests.

    pytest -p lth_det.testing.plugin --pyargs lth_det.testing.invariants --lth-config my.yaml

Each test trains the configuration's model for a few steps on its own data (``--lth-steps``, default 4), without
evaluation. Each can be called as a function, too, with a :class:`lth_det.testing.detector.Detector`.
"""

import pytest
import torch

from lth_det.testing.checks import (
    BrokenInvariantError,
    check_files_hold_zeros,
    check_frozen,
    check_holds_zeros,
    check_nested,
    check_same_weights,
    check_shared_once,
    check_wrong_model_is_refused,
)
from lth_det.testing.detector import Detector, change_parameter
from lth_det.testing.rewind_check import check_rewind_is_a_clone
from lth_det.tickets.mask import Mask
from lth_det.tickets.ticket import Provenance, Ticket

_CLIP = ("SOLVER.CLIP_GRADIENTS.ENABLED", "True", "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm")
OPTIMIZERS: dict[str, tuple[str, ...]] = {
    "momentum": ("LTH.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", "0.9", "SOLVER.WEIGHT_DECAY", "0.01"),
    "nesterov": ("LTH.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", "0.9", "SOLVER.NESTEROV", "True"),
    "adamw": ("LTH.OPTIMIZER", "ADAMW", "SOLVER.WEIGHT_DECAY", "0.05"),
    "clipping": ("LTH.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", "0.9", *_CLIP),
}
_PRUNE_RATE = 0.7


def test_the_rewind_state_is_a_clone(lth_detector: Detector) -> None:
    """Captured weights do not train along, and rewinding restores them to the bit."""
    model = lth_detector.build_model()
    weights = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=0.1, momentum=0.9)

    def step() -> None:
        for weight in weights:
            weight.grad = torch.full_like(weight, 0.5)
        optimizer.step()

    check_rewind_is_a_clone(
        model, step=step, capture=lth_detector.capture, rewind=lth_detector.rewind
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_zeros_stay_zeros_in_memory_and_in_every_file(
    lth_detector: Detector, optimizer: str
) -> None:
    """After every step pruned weights are zero, whatever momentum, decay and clipping do; kept ones are trained."""
    model = lth_detector.build_model()
    mask = lth_detector.decide(model, _PRUNE_RATE)
    trained = lth_detector.train(f"zeros_{optimizer}", *OPTIMIZERS[optimizer], mask=mask)
    check_holds_zeros(trained.start, mask, what="the model before the first step")
    check_holds_zeros(trained.weights, mask, what="the model after the last step")
    if len(trained.files) < lth_detector.steps:
        raise BrokenInvariantError(
            f"{len(trained.files)} checkpoints were saved in {lth_detector.steps} steps."
        )
    check_files_hold_zeros(trained.files, mask)
    check_frozen(lth_detector.table(model), mask, trained.start, trained.weights)
    if all(torch.equal(trained.start[name], trained.weights[name]) for name in mask):
        raise BrokenInvariantError("No pruned layer was trained, so nothing was checked.")


def test_masks_are_nested(lth_detector: Detector) -> None:
    """What one round prunes the next ones prune, also when the weights have changed in between."""
    model = lth_detector.build_model()
    masks: list[Mask] = []
    for rate in (0.3, 0.6, 0.9):
        masks.append(lth_detector.decide(model, rate, masks[-1] if masks else None))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(parameter.flip(0))
    check_nested(masks)
    for mask, rate in zip(masks, (0.3, 0.6, 0.9), strict=True):
        if abs(mask.prune_rate - rate) > 1.0 / max(mask.numel, 1):
            raise BrokenInvariantError(f"The mask for {rate} has the prune rate {mask.prune_rate}.")


def test_shared_parameters_are_counted_and_masked_once(lth_detector: Detector) -> None:
    """Heads used on several levels and tied weights are one tensor each."""
    model = lth_detector.build_model()
    check_shared_once(model, lth_detector.table(model), lth_detector.decide(model, _PRUNE_RATE))


def test_with_lth_disabled_training_equals_plain_detectron2(lth_detector: Detector) -> None:
    """To the bit: installing the package changes nothing."""
    plain = lth_detector.train_plain("plain")
    ours = lth_detector.train_disabled("disabled")
    check_same_weights(plain.start, ours.start, what="Plain Detectron2's start and ours")
    check_same_weights(plain.weights, ours.weights, what="Plain Detectron2's training and ours")


def test_a_ticket_of_another_model_is_refused_with_all_differences(lth_detector: Detector) -> None:
    """No lenient loading: missing names and wrong shapes are listed, and the model stays as it was."""
    model = lth_detector.build_model()
    mask = lth_detector.decide(model, _PRUNE_RATE)
    names = list(mask)
    other = lth_detector.build_model()
    change_parameter(other, names[0])
    renamed = {**{name: mask[name] for name in names}, "not_there.weight": mask[names[-1]]}
    for ticket in (
        Ticket(Mask(renamed), None, _PROVENANCE),
        Ticket(mask, lth_detector.capture(model.state_dict()), _PROVENANCE),
    ):
        check_wrong_model_is_refused(ticket, other, load=lth_detector.load_ticket)


def test_resumed_training_equals_unbroken_training(lth_detector: Detector) -> None:
    """To the bit: data order, optimizer state, random numbers and mask all go on where they were."""
    mask = lth_detector.decide(lth_detector.build_model(), _PRUNE_RATE)
    whole = lth_detector.train("whole", *OPTIMIZERS["momentum"], mask=mask)
    half = max(1, lth_detector.steps // 2)
    lth_detector.train("cut", *OPTIMIZERS["momentum"], mask=mask, stop_after=half)
    resumed = lth_detector.train("cut", *OPTIMIZERS["momentum"], mask=mask, resume=True)
    if resumed.start_iteration == 0:
        raise BrokenInvariantError("The resumed training began anew.")
    check_same_weights(whole.weights, resumed.weights, what="Unbroken and resumed training")


_PROVENANCE = Provenance(
    criterion="magnitude",
    scope="global",
    prune_rate=_PRUNE_RATE,
    prune_rates_by_group={},
    sparsity=0.0,
    round=1,
    parent_sha256=None,
    source_task="check",
    source_weights="",
    seed=1,
    rewind="start",
)
