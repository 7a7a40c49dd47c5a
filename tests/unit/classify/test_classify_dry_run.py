"""Dry runs of criteria that need losses, and of transfers: what is shown is what the run would do."""

from pathlib import Path

import pytest
from tiny_data import tiny_config

from lth_det.classify.config_file import load_config
from lth_det.classify.dry_run import dry_run, dry_run_text
from lth_det.classify.models import build_model
from lth_det.errors import ConfigError, TicketFormatError
from lth_det.tickets.mask import Mask
from lth_det.tickets.serialization import save_ticket
from lth_det.tickets.ticket import Provenance, Ticket

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "classify"
PROVENANCE = Provenance(
    criterion="magnitude",
    scope="global",
    prune_rate=0.5,
    prune_rates_by_group={},
    sparsity=0.5,
    round=2,
    parent_sha256=None,
    source_task="made up",
    source_weights="",
    seed=1,
    rewind="final",
)


@pytest.mark.parametrize("key", ["criterion", "scope"])
def test_dry_run_counts_what_needs_losses_without_computing_them(tmp_path, key):
    options = {
        "criterion": ("pruning.criterion", "snip"),
        "scope": ("pruning.scope", "sensitivity"),
    }
    plain = dry_run(tiny_config(tmp_path))
    assert dry_run(tiny_config(tmp_path, *options[key]))["rounds"] == plain["rounds"]


def test_dry_run_of_a_transfer_shows_the_rounds_of_its_source(tmp_path):
    file = str(CONFIGS / "quick" / "mehta_shapes.yaml")
    # The target's own section has no part in the run.
    report = dry_run(load_config(file, ["pruning.rounds", "5", "pruning.groups.stem", "0"]))
    assert [row["round"] for row in report["rounds"]] == [2]  # transfer.rounds: [0, 2]
    assert report["rounds"][0]["prune_rate"] == pytest.approx(0.36, abs=0.001)
    assert report["rounds"][0]["groups"]["stem"]["pruned_parameters"] > 0
    assert "starts   source_final, source_init, random, random_mask" in dry_run_text(report)
    with pytest.raises(ConfigError, match=r"transfer\.rounds has 7, but .* has the rounds 0 to 2"):
        dry_run(load_config(file, ["transfer.rounds", "[7]"]))


def test_dry_run_of_one_tickets_transfer_looks_at_the_ticket(tmp_path):
    file = str(CONFIGS / "quick" / "mehta_shapes.yaml")
    options = ["transfer.source", "", "transfer.ticket", str(tmp_path / "ticket.safetensors")]
    with pytest.raises(TicketFormatError, match="cannot be read as a ticket"):
        dry_run(load_config(file, options))
    config = load_config(file, options)
    model = build_model(config.model, 4, seed=3)
    mask = Mask(
        {name: p > 0 for name, p in model.named_parameters() if p.ndim > 1}  # fc.weight too
    )
    save_ticket(tmp_path / "ticket.safetensors", Ticket(mask, None, PROVENANCE))
    report = dry_run(config)
    (row,) = report["rounds"]
    body = mask.restricted_to(name for name in mask if name != "fc.weight")
    assert (row["round"], row["pruned_parameters"]) == (2, body.numel - body.kept)
    assert row["prune_rate"] == body.prune_rate
