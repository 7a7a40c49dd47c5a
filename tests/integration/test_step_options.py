"""Layout and precision of the training step: what they change, and what they must not."""

import pytest
import torch
from detectron2.utils.events import EventStorage
from small_cfg import small_cfg
from test_trainer import half_mask, train, weights

from lth_det.d2.config import check_lth_config
from lth_det.d2.trainer import LotteryTrainer, RoundOptions
from lth_det.errors import ConfigError
from lth_det.tickets.apply import count_revived

pytestmark = [
    pytest.mark.d2,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def seen(model, batch):
    """Return the losses of a forward pass and the (dtype, channels-last) of what each convolution got and gave."""
    found = []

    def look(_, inputs, output):
        images = inputs[0]
        last = images.is_contiguous(memory_format=torch.channels_last)
        found.append((output.dtype, last and not images.is_contiguous()))

    for module in model.backbone.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(look)
    torch.manual_seed(0)
    with EventStorage(0), torch.no_grad():
        result = model(batch)
    return result, found


def built(tmp_path, *options):
    cfg = small_cfg(tmp_path, *options)
    torch.manual_seed(1)
    return cfg, LotteryTrainer.build_model(cfg)


@pytest.fixture
def batch(tmp_path):
    return next(iter(LotteryTrainer(small_cfg(tmp_path), RoundOptions(seed=1)).data_loader))


def test_channels_last_changes_the_layout_of_images_alone(tmp_path, batch):
    (_, plain), (_, model) = built(tmp_path), built(tmp_path, "LTH.CHANNELS_LAST", "True")
    wanted, before = seen(plain, batch)
    losses, after = seen(model, batch)
    assert not any(last for _, last in before)
    assert all(last for _, last in after)
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(
        {k: v.item() for k, v in wanted.items()}, rel=1e-3
    )
    assert all(value.is_contiguous() for value in model.state_dict().values())


def test_autocast_covers_training_and_not_evaluation(tmp_path, batch):
    _, model = built(tmp_path, "LTH.AUTOCAST", "bfloat16")
    losses, types = seen(model, batch)
    assert {dtype for dtype, _ in types} == {torch.bfloat16}
    assert all(torch.isfinite(loss) for loss in losses.values())
    _, types = seen(model.eval(), batch)
    assert {dtype for dtype, _ in types[len(types) // 2 :]} == {torch.float32}
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_a_forward_pass_that_fails_leaves_no_autocast_behind(tmp_path):
    _, model = built(tmp_path, "LTH.AUTOCAST", "bfloat16")
    with EventStorage(0), pytest.raises(KeyError):
        model([{}])
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("key", ["LTH.CHANNELS_LAST", "LTH.AUTOCAST"])
def test_pruned_weights_stay_zero_and_a_round_can_be_repeated(tmp_path, key):
    value = "True" if key.endswith("LAST") else "bfloat16"
    runs = []
    for name in ("first", "second"):
        cfg = small_cfg(tmp_path / name, key, value)
        mask = half_mask(cfg)
        trainer = train(cfg, RoundOptions(seed=1, mask=mask))
        assert count_revived(dict(trainer.model.named_parameters()), mask) == 0
        runs.append(weights(trainer))
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    plain = train(small_cfg(tmp_path / "plain"), RoundOptions(seed=1, mask=mask))
    assert any(not torch.equal(runs[0][k], v) for k, v in weights(plain).items())


def test_two_kinds_of_mixed_precision_and_unknown_ones_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"LTH\.AUTOCAST and SOLVER\.AMP\.ENABLED are both on"):
        built(tmp_path, "LTH.AUTOCAST", "bfloat16", "SOLVER.AMP.ENABLED", "True")
    cfg = small_cfg(tmp_path).clone()
    cfg.defrost()
    cfg.LTH.AUTOCAST = "float8"
    with pytest.raises(ConfigError, match=r"LTH\.AUTOCAST"):
        check_lth_config(cfg)
