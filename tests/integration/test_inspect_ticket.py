"""``inspect_ticket.py``: dry runs on real models, ticket files, mistakes on the command line."""

import json
import math
import subprocess
import sys
from pathlib import Path

import fvcore.nn
import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from lth_det.cli import inspect_ticket
from lth_det.d2.dry_run import configured_table, dry_run
from lth_det.d2.macs import layer_macs
from lth_det.d2.setup_cfg import load_config
from lth_det.pruning.apportion import keep_count
from lth_det.tickets.mask import Mask
from lth_det.tickets.serialization import save_ticket
from lth_det.tickets.table_record import TABLE_KEY, table_to_text
from lth_det.tickets.ticket import Provenance, Ticket

pytestmark = pytest.mark.d2

ROOT = Path(__file__).parents[2]
SMALL = str(ROOT / "configs/mask_rcnn_imp.yaml")
KEYPOINT = str(
    ROOT / "configs/keypoint_rcnn_imp.yaml"
)  # one class: suppression between classes cannot hide
R18_MASK = str(ROOT / "configs/coco/mask_rcnn_R_18_FPN_imp.yaml")


@pytest.fixture
def tool(capsys):
    """Run the tool in this process; return exit code, standard output and standard error."""

    def run(*argv):
        with pytest.raises(SystemExit) as caught:
            inspect_ticket.main([str(word) for word in argv])
        output = capsys.readouterr()
        return caught.value.code, output.out, output.err

    return run


@pytest.fixture
def report(tool):
    """Run the tool with ``--json -`` and return what it wrote."""

    def run(*argv):
        code, out, err = tool(*argv, "--json", "-")
        assert code == 0, err
        return json.loads(out)

    return run


def small_weights(**scale):
    """Return a state dict of the small model whose parameters are scaled by the first matching key."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(5)
        state = build_model(load_config(SMALL)).state_dict()
    for name, value in state.items():
        for part, factor in scale.items():
            if part in name and value.is_floating_point():
                value.mul_(factor)
    return state


def test_dry_run_has_the_stable_keys_and_exact_counts(report):
    result = report("--config-file", SMALL, "--prune-rate", "0.8")
    table = configured_table(load_config(SMALL))
    assert result["total_parameters"] == table.total_parameters
    assert result["prunable_parameters"] == table.prunable_parameters
    pruned = table.prunable_parameters - keep_count(table.prunable_parameters, 1 - 0.8)
    assert result["pruned_parameters"] == pruned
    assert result["sparsity"] == pruned / table.total_parameters
    assert result["prune_rate"] == pruned / table.prunable_parameters
    for key in ("total_parameters", "prunable_parameters", "pruned_parameters"):
        assert sum(group[key] for group in result["groups"].values()) == result[key]
        assert key in result["groups"]["backbone"]
    for group in result["groups"].values():
        assert group["sparsity"] == group["pruned_parameters"] / group["total_parameters"]
    assert sum(layer["pruned_parameters"] for layer in result["layers"]) == pruned
    assert result["weights"] == "random initialisation (seed 1)"
    assert result["split_depends_on_weights"]


def test_the_papers_mask_model_at_80_percent(report):
    result = report("--config-file", R18_MASK, "--prune-rate", "0.8")
    assert (result["total_parameters"], result["prunable_parameters"]) == (31_317_936, 30_704_832)
    assert round(100 * result["sparsity"], 2) == 78.43
    assert result["preset"] == "paper"
    frozen = [
        f"backbone.bottom_up.res2.{block}.conv{conv}.weight" for block in (0, 1) for conv in (1, 2)
    ]
    assert set(result["frozen_in_scope"]) == {"backbone.bottom_up.stem.conv1.weight", *frozen}
    assert result["bytes"]["dense"] == 4 * 31_317_936


def test_the_preset_of_the_command_line_wins(report):
    result = report("--config-file", R18_MASK, "--prune-rate", "0.5", "--preset", "default")
    assert result["preset"] == "default"
    assert result["groups"]["stem"]["prunable_parameters"] == 0
    assert result["frozen_in_scope"] == []


def test_groups_restrict_what_is_pruned(report):
    result = report("--config-file", SMALL, "--prune-rate", "0.9", "--groups", "backbone,fpn")
    pruned = {name for name, group in result["groups"].items() if group["pruned_parameters"]}
    assert pruned == {"backbone", "fpn"}
    assert result["prune_rate"] == pytest.approx(0.9, abs=1e-5)
    assert result["prunable_parameters"] < result["total_parameters"]


def test_prune_rate_zero_prunes_nothing_and_none_is_the_configurations_last_round(report):
    assert report("--config-file", SMALL, "--prune-rate", "0")["pruned_parameters"] == 0
    targets = report("--config-file", SMALL, "LTH.TARGETS", "(0.25, 0.75)")
    assert targets["requested_prune_rate"] == 0.75
    fixed = report("--config-file", SMALL, "--prune-rate", "0.5", "LTH.TARGETS", "(0.25, 0.75)")
    assert fixed["prune_rate"] == pytest.approx(0.5, abs=1e-5)


def test_random_split_follows_the_seed_and_totals_do_not(report):
    first, again, other = (
        report("--config-file", SMALL, "--prune-rate", "0.8", "SEED", seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first["pruned_parameters"] == other["pruned_parameters"]
    assert first["groups"] != other["groups"]


def test_sensitivity_shows_the_split_of_the_global_scope_and_says_so(report):
    shown = report("--config-file", SMALL, "--prune-rate", "0.8", "LTH.SCOPE", "sensitivity")
    plain = report("--config-file", SMALL, "--prune-rate", "0.8")
    assert (shown["scope"], shown["split_scope"]) == ("sensitivity", "global")
    assert plain["split_scope"] == "global"
    assert shown | {"scope": "global"} == plain


def test_layer_scope_gives_each_group_the_same_rate(report):
    result = report("--config-file", SMALL, "--prune-rate", "0.8", "LTH.SCOPE", "layer")
    assert not result["split_depends_on_weights"]
    rates = [g["prune_rate"] for g in result["groups"].values() if g["prunable_parameters"]]
    assert rates == pytest.approx([0.8] * len(rates), abs=0.01)


def test_weights_of_a_file_decide_the_split(report, tmp_path):
    torch.save({"model": small_weights(bottom_up=0.0)}, tmp_path / "model.pth")
    result = report(
        "--config-file", SMALL, "--prune-rate", "0.3", "MODEL.WEIGHTS", tmp_path / "model.pth"
    )
    assert result["weights"] == str(tmp_path / "model.pth")
    pruned = {name: group["pruned_parameters"] for name, group in result["groups"].items()}
    assert pruned.pop("backbone") == result["pruned_parameters"]
    assert not any(pruned.values())


def test_weights_for_a_part_of_the_model_are_said_to_be_that(report, tmp_path):
    state = small_weights()
    backbone = {name: value for name, value in state.items() if "bottom_up" in name}
    torch.save({"model": backbone}, tmp_path / "backbone.pth")
    path = tmp_path / "backbone.pth"
    result = report("--config-file", SMALL, "--prune-rate", "0.3", "MODEL.WEIGHTS", path)
    table = configured_table(load_config(SMALL))
    loaded = sum("bottom_up" in entry.name for entry in table)
    assert result["weights"].startswith(f"{path} for {loaded} of {len(table)} parameters; random")


def test_addresses_are_not_downloaded(report):
    address = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
    result = report("--config-file", SMALL, "--prune-rate", "0.3", "MODEL.WEIGHTS", address)
    assert (
        result["weights"] == f"random initialisation (seed 1); {address} is not downloaded for this"
    )


def test_a_dry_run_leaves_the_configuration_and_the_random_state_alone():
    cfg = load_config(SMALL, ["MODEL.DEVICE", "cuda"])  # the dry run itself is on the CPU
    cfg.freeze()
    text = cfg.dump()
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(12345)  # a state that no earlier dry run can have left
        before = torch.get_rng_state()
        json.dumps(dry_run(cfg), allow_nan=False)
        assert torch.equal(before, torch.get_rng_state())
    assert cfg.dump() == text
    assert cfg.is_frozen()


def test_macs_of_single_layers_equal_hand_counts_and_fvcore():
    cases = [
        (nn.Conv2d(4, 6, 3, padding=1, groups=2), (1, 4, 5, 7), 6 * 5 * 7 * 2 * 9),
        (nn.Conv2d(4, 6, 1, stride=2), (2, 4, 6, 6), 2 * 6 * 3 * 3 * 4),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (1, 4, 5, 5), 4 * 25 * 6 * 4),
        (nn.Linear(8, 3), (10, 8), 10 * 8 * 3),
    ]
    for module, shape, expected in cases:
        inputs = torch.zeros(shape)
        assert layer_macs(module, inputs, module(inputs)) == expected
        counter = fvcore.nn.FlopCountAnalysis(module, inputs).unsupported_ops_warnings(False)
        assert counter.total() == expected
    assert layer_macs(nn.ReLU(), inputs, inputs) == 0


def test_macs_count_every_level_and_region_and_the_density(report):
    arguments = ("--config-file", SMALL, "--prune-rate", "0.75", "--groups", "rpn", "--macs")
    result = report(*arguments, "LTH.SCOPE", "layer")
    macs = result["macs"]
    assert macs["image"] == [128, 160]
    cells = sum(math.ceil(128 / stride) * math.ceil(160 / stride) for stride in (4, 8, 16, 32, 64))
    assert macs["groups"]["rpn"] == {
        "dense": cells * 48 * 48 * 9,
        "ticket": cells * 48 * 48 * 9 // 4,
    }
    cfg = load_config(SMALL)
    regions, width = cfg.MODEL.RPN.POST_NMS_TOPK_TEST, cfg.MODEL.ROI_BOX_HEAD.FC_DIM
    pooled = 48 * cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION**2
    assert macs["groups"]["box_head"]["dense"] == regions * (pooled * width + width * width)
    assert macs["groups"]["mask_head"]["dense"] > 0
    assert macs["dense"] - macs["ticket"] == cells * 48 * 48 * 9 * 3 // 4


@pytest.mark.parametrize("config", [SMALL, KEYPOINT])
def test_macs_are_those_of_the_most_regions_whatever_the_thresholds_keep(report, config):
    arguments = ("--config-file", config, "--prune-rate", "0.5", "--macs")
    loose = report(*arguments, "SEED", 2)
    strict = report(
        *arguments,
        *("MODEL.RPN.NMS_THRESH", 0.01),
        *("MODEL.ROI_HEADS.NMS_THRESH_TEST", 0.01, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.99),
    )
    assert strict["macs"]["dense"] == loose["macs"]["dense"]


def test_macs_of_the_papers_mask_model_by_hand(report):
    size = ("INPUT.MIN_SIZE_TEST", 160)
    macs = report("--config-file", R18_MASK, "--prune-rate", "0.8", "--macs", *size)["macs"]
    assert macs["image"] == [160, 213]
    proposals, detections = 1000, 100
    assert macs["groups"]["box_head"]["dense"] == proposals * (1024 * 12544 + 1024 * 1024)
    convolutions, deconvolution = 4 * 256 * 256 * 9 * 14 * 14, 256 * 256 * 4 * 14 * 14
    assert macs["groups"]["mask_head"]["dense"] == detections * (convolutions + deconvolution)


def write_ticket(path, seed, *, with_table=True):
    table = configured_table(load_config(SMALL))
    generator = torch.Generator().manual_seed(seed)
    mask = Mask(
        {e.name: torch.rand(e.shape, generator=generator) < 0.2 for e in table if e.prunable}
    )
    provenance = Provenance(
        criterion="magnitude",
        scope="global",
        prune_rate=mask.prune_rate,
        prune_rates_by_group={},
        sparsity=(mask.numel - mask.kept) / table.total_parameters,
        round=1,
        parent_sha256=None,
        source_task="shapes_train",
        source_weights="",
        seed=seed,
        rewind="iteration 60",
        extra={TABLE_KEY: table_to_text(table)} if with_table else {},
    )
    return save_ticket(path, Ticket(mask, None, provenance)), mask


def test_a_ticket_file(report, tmp_path):
    sha256, mask = write_ticket(tmp_path / "a.safetensors", 1)
    result = report(tmp_path / "a.safetensors")
    assert result["sha256"] == sha256
    assert result["pruned_parameters"] == mask.numel - mask.kept
    assert result["groups"]["fpn"]["prune_rate"] == pytest.approx(0.8, abs=0.01)
    assert result["provenance"]["rewind"] == "iteration 60"
    assert result["file_bytes"] == (tmp_path / "a.safetensors").stat().st_size


def test_a_ticket_without_a_table_takes_it_from_a_configuration(report, tool, tmp_path):
    path = tmp_path / "a.safetensors"
    write_ticket(path, 1, with_table=False)
    assert set(report(path)["groups"]) == {"other"}
    assert "add --config-file" in tool(path)[1]
    assert "fpn" in report(path, "--config-file", SMALL)["groups"]
    code, _, err = tool(path, "--config-file", R18_MASK)
    assert code == 2
    assert "backbone.fpn_lateral2.weight" in err


def test_two_tickets_are_compared_by_group(report, tool, tmp_path):
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for seed, path in enumerate(paths):
        write_ticket(path, seed)
    result = report(*paths)
    assert [ticket["file"] for ticket in result["tickets"]] == [str(path) for path in paths]
    assert set(result["overlap"]["groups"]) == {"backbone", "fpn", "rpn", "box_head", "mask_head"}
    assert abs(result["overlap"]["kappa"]) < 0.01
    assert report(paths[0], paths[0])["overlap"]["kappa"] == 1.0
    assert "kappa is 0 at chance" in tool(*paths)[1]


def test_the_table_is_printed_unless_the_json_takes_standard_output(tool, tmp_path):
    code, out, _ = tool(
        "--config-file", SMALL, "--prune-rate", "0.5", "--json", tmp_path / "r.json"
    )
    assert code == 0
    assert "network" in out
    assert json.loads((tmp_path / "r.json").read_text())["requested_prune_rate"] == 0.5


def damaged(tmp_path, name):
    """Return a path to a file that cannot be used."""
    path = tmp_path / name
    if name == "truncated.safetensors":
        write_ticket(path, 1)
        path.write_bytes(path.read_bytes()[:-100])
    elif name == "truncated.pth":
        torch.save({"model": small_weights()}, path)
        path.write_bytes(path.read_bytes()[:5000])
    elif name == "other.pth":
        torch.save({"model": {"x": torch.zeros(3)}}, path)
    elif name == "note.txt":
        path.write_text("hello")
    return path


DRY = ("--config-file", SMALL)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((*DRY, "--prune-rate", "1.0"), r"--prune-rate is 1.0, but a prune rate lies in [0, 1)."),
        ((*DRY, "--prune-rate", "-0.1"), "--prune-rate is -0.1"),
        ((*DRY, "--prune-rate", "nan"), "--prune-rate is nan"),
        (("--config-file", "nowhere.yaml"), "nowhere.yaml does not exist"),
        (
            (*DRY, "LTH.PRUN_RATE", "0.5"),
            "no config key LTH.PRUN_RATE (did you mean LTH.PRUNE_RATE?)",
        ),
        ((*DRY, "LTH.PRUNE_RATE"), "'LTH.PRUNE_RATE' has no value"),
        ((*DRY, "--groups", "neck"), "--groups has 'neck'; choose from stem"),
        ((*DRY, "--groups", ","), "--groups has no name"),
        ((*DRY, "--groups", "keypoint_head"), "no prunable weight there"),
        ((*DRY, "MODEL.WEIGHTS", "nowhere.pth"), "nowhere.pth, which does not exist"),
        ((*DRY, "MODEL.WEIGHTS", "@truncated.pth"), "cannot be read as weights"),
        ((*DRY, "MODEL.WEIGHTS", "@note.txt"), "cannot be read as weights"),
        ((*DRY, "MODEL.WEIGHTS", "@other.pth"), "holds no parameter of this model"),
        ((), "give one or more ticket files, or --config-file F"),
        (("LTH.PRUNE_RATE", "0.5"), "LTH.PRUNE_RATE is no ticket file"),
        (("nowhere.safetensors",), "nowhere.safetensors cannot be read as a ticket"),
        (("@truncated.safetensors",), "truncated"),
        (("@note.txt",), "note.txt"),
        (("@truncated.safetensors", "b.safetensors", "c.safetensors"), "truncated"),
        (("a.safetensors", "--prune-rate", "0.5"), "--prune-rate is for a dry run"),
        (("a.safetensors", "LTH.ROUNDS", "3"), "KEY VALUE needs --config-file"),
    ],
)
def test_mistakes_end_with_one_sentence_and_code_2(tool, tmp_path, argv, message):
    words = [damaged(tmp_path, word[1:]) if word.startswith("@") else word for word in argv]
    code, out, err = tool(*words)
    assert code == 2, err
    assert out == ""
    assert message in err
    sentence = err.strip().splitlines()[-1]
    assert sentence.startswith("error: ")
    assert "Traceback" not in err


def test_three_tickets_are_compared_in_pairs(tool, tmp_path):
    def ticket(name, seed, *names):
        generator = torch.Generator().manual_seed(seed)
        mask = Mask({key: torch.rand(40, 30, generator=generator) < 0.3 for key in names})
        provenance = Provenance(
            "random", "layer", mask.prune_rate, {}, 0.7, 1, None, "t", "", seed, "init"
        )
        save_ticket(tmp_path / name, Ticket(mask, None, provenance))
        return str(tmp_path / name)

    paths = [
        ticket("a.safetensors", 1, "backbone.x", "fpn.y"),
        ticket("b.safetensors", 1, "backbone.x", "fpn.y"),
        ticket("c.safetensors", 2, "backbone.x"),
    ]
    code, out, err = tool(*paths, "--json", str(tmp_path / "o.json"))
    assert code == 0, err
    rows = [line.split() for line in out.splitlines()]
    assert rows[0][:4] == ["first", "second", "group", "IoU"]
    assert [tuple(row[:3]) for row in rows[1:]] == [
        (paths[0], paths[1], "all"), (paths[0], paths[1], "backbone"), (paths[0], paths[1], "fpn"),
        (paths[0], paths[2], "all"), (paths[0], paths[2], "backbone"),
        (paths[1], paths[2], "all"), (paths[1], paths[2], "backbone"),
    ]  # fmt: skip
    assert rows[1][3] == rows[1][5] == "1.0000"
    assert abs(float(rows[4][5])) < 0.06
    assert json.loads((tmp_path / "o.json").read_text())["overlap"]["names"] == paths


def test_the_script_itself_writes_json_and_nothing_else(tmp_path):
    command = [
        sys.executable,
        ROOT / "tools/inspect_ticket.py",
        *DRY,
        "--prune-rate",
        "0.8",
        "--json",
        "-",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["prune_rate"] == pytest.approx(0.8, abs=1e-5)
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []
