from lth_det.reports.terminal import rounds_text

RESULTS = {
    "rounds": [
        {"round": 0, "prune_rate": 0.0, "sparsity": 0.0, "metrics": {"bbox/AP": 55.0, "bbox/AP50": 80.25, "bbox/AR": 1.0}},
        {"round": 1, "prune_rate": 0.8, "sparsity": 0.7421, "metrics": {"bbox/AP": float("nan"), "bbox/AP50": None}},
    ],
    "controls": [{"name": "random_reinit", "round": 1, "prune_rate": 0.8, "sparsity": 0.7421, "metrics": {"bbox/AP": 5.125}}],
}  # fmt: skip


def test_rows_and_columns_are_those_of_the_results():
    lines = rounds_text(RESULTS).splitlines()
    cells = [line.split() for line in lines]
    assert cells[0] == ["round", "prune", "rate", "sparsity", "bbox/AP", "bbox/AP50"]
    assert cells[1] == ["0", "0.00", "%", "0.00", "%", "55.00", "80.25"]
    assert cells[2] == ["1", "80.00", "%", "74.21", "%", "-", "-"]
    assert cells[3] == ["1", "random_reinit", "80.00", "%", "74.21", "%", "5.12", "-"]
    assert len({len(line) for line in lines}) == 1  # right-aligned numbers end in one column


def test_a_classifier_has_columns_of_accuracy():
    rounds = [
        {"round": 0, "prune_rate": 0.0, "sparsity": 0.0, "metrics": {"top5": 99.0, "top1": 61.5}}
    ]
    first, second = rounds_text({"rounds": rounds}).splitlines()
    assert first.split() == ["round", "prune", "rate", "sparsity", "top-1", "top-5"]
    assert second.split()[-2:] == ["61.50", "99.00"]
