"""Tickets of classifiers and detectors in other detectors: every tensor in its place, nothing passed over."""

import json

import pytest
import torch
from detectron2.modeling import build_model
from small_cfg import ROOT, small_cfg
from transfer_cases import (
    IMAGENET_INPUT,
    block_convolutions,
    classifier_extra,
    command,
    narrow_classifier,
    write_ticket,
)

from lth_det.d2.checkpoint import load_ticket_into
from lth_det.d2.module_groups import parameter_table_from_cfg
from lth_det.errors import ConfigError, MaskMismatchError
from lth_det.tickets.serialization import load_ticket

pytestmark = pytest.mark.d2

CONFIG = ROOT / "configs/quick/mask_rcnn_imp.yaml"
KEYPOINT = ROOT / "configs/quick/keypoint_rcnn_imp.yaml"
UP = "backbone.bottom_up."


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("classifier") / "ticket.safetensors"
    network = narrow_classifier()
    ticket = write_ticket(path, network, block_convolutions(network), extra=classifier_extra())
    return network, ticket, path


@pytest.fixture(scope="module")
def moved(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("moved")
    command("--config-file", CONFIG, "--source", classifier[2], "--kind", "ticket",
            "--output", folder / "t.safetensors", "--json", folder / "r.json")  # fmt: skip
    return load_ticket(folder / "t.safetensors"), json.loads((folder / "r.json").read_text())




def test_features_of_the_detector_are_those_of_the_classifier(classifier, moved, tmp_path):
    network, source, _ = classifier
    model = build_model(small_cfg(tmp_path, task="mask")).eval()
    load_ticket_into(model, moved[0])
    with torch.no_grad():
        for name, keep in source.mask.items():
            network.get_parameter(name).mul_(keep)
        images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
        expected = network.features(images)
        found = model.backbone.bottom_up(images)
    for stage, value in zip(("res2", "res3", "res4", "res5"), expected, strict=True):
        torch.testing.assert_close(found[stage], value)
