import copy
import csv
import re

import pytest
from page_check import EVIL, Tags

from lth_det.reports.transfer_page import accuracy_table, transfer_curves, write_transfer_page

STARTS = ("source_final", "random", "random_mask")


def row(finetune, number, start):
    return {
        "finetune": finetune,
        "head_layers": 1,
        "source_round": number,
        "source_prune_rate": 1 - 0.8**number,
        "source_top1": 60.0 + number,
        "start": start,
        "prune_rate": 1 - 0.8**number,
        "sparsity": 0.9 * (1 - 0.8**number),
        "top1": 50.0 - number - 5 * STARTS.index(start) + (finetune == "full"),
        "top5": 95.0,
        "stage": f"round_{number:02d}_{start}_{finetune}_1fc",
    }


@pytest.fixture
def transfer():
    """The content of transfer.json: two kinds of fine-tuning, three source rounds, two starts and a control."""
    return {
        "format_version": 1,
        "task": "shapes_cls",
        "architecture": "narrow_resnet",
        "seed": 1,
        "source": "source",
        "dataset": {"name": "shapes_cls", "train_images": 30, "val_images": 15, "classes": ["a", "b", "c", "d"]},
        "versions": {"torch": "2.14.1"},
        "complete": True,
        "rows": [
            row(finetune, number, start)
            for finetune in ("frozen", "full")
            for number in (0, 1, 2)
            for start in STARTS
            if not (number == 0 and start == "random_mask")
        ],
    }  # fmt: skip


def test_the_page_and_its_files_hold_every_training(transfer, tmp_path, light_figures):
    page = write_transfer_page(transfer, tmp_path)
    text = page.read_text(encoding="utf-8")
    Tags(text)
    assert 'role="note"' not in text
    rows = list(csv.DictReader((page.parent / "transfer.csv").read_text().splitlines()))
    assert [float(r["top1"]) for r in rows] == [r["top1"] for r in transfer["rows"]]
    cards = re.findall(r'card-label">([^<]*)</div><div class="card-value">([^<]*)<', text)
    assert cards[:3] == [
        ("frozen convolutions, 1 linear layer, best dense", "50.0"),
        ("frozen convolutions, 1 linear layer, best ticket", "49.0"),
        ("frozen convolutions, 1 linear layer, best random mask", "39.0"),
    ]
    assert len(cards) == 6
    assert "16 trainings from 3 source rounds" in text
    names = {path.name for path in page.parent.iterdir()}
    assert names == {
        *("index.html", "transfer.csv", "transfer.tex", "report.md"),
        *("accuracy_against_prune_rate.png", "accuracy_against_prune_rate.svg"),
    }


def test_the_table_has_no_random_mask_of_a_dense_network(transfer):
    table = accuracy_table(transfer, ("full", 1))
    assert [column.key for column in table.columns] == ["source_prune_rate", "source_top1", *STARTS]
    assert table.rows[0][:4] == (0.0, 60.0, 51.0, 46.0)
    assert table.rows[0][4] != table.rows[0][4]
    assert table.rows[2][2:] == (49.0, 44.0, 39.0)


def test_lines_are_in_order_of_the_prune_rate(transfer, quick_figures):
    transfer["rows"].reverse()
    transfer_curves(transfer)
    figure = quick_figures["accuracy_against_prune_rate"]
    assert [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes] == [
        "full fine-tuning, 1 linear layer",
        "frozen convolutions, 1 linear layer",
    ]
    lines = {line.get_label(): line for line in figure.axes[1].get_lines()}
    assert list(lines["source_final"].get_ydata()) == [50.0, 49.0, 48.0]
    assert list(lines["random_mask"].get_ydata()) == [39.0, 38.0]
    assert list(lines["guessing"].get_ydata()) == [25.0, 25.0]


def test_equal_content_gives_equal_bytes_and_is_not_changed(transfer, tmp_path, no_figures):
    before = copy.deepcopy(transfer)
    first = write_transfer_page(transfer, tmp_path).read_bytes()
    assert write_transfer_page(transfer, tmp_path).read_bytes() == first
    assert transfer == before


def test_names_from_files_are_escaped_and_an_unfinished_run_says_so(transfer, tmp_path, no_figures):
    transfer |= {"task": EVIL, "complete": False}
    transfer["dataset"]["classes"][0] = EVIL
    text = write_transfer_page(transfer, tmp_path).read_text(encoding="utf-8")
    assert EVIL not in text
    assert "The run is not finished" in text
