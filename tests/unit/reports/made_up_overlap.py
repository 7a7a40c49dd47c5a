"""Made-up early-bird records and overlaps of tickets, as the experiments write them."""


def make_early_bird(*, points=6, stable_at=300, groups=("backbone", "fpn", "box_head")):
    """A mask that comes nearer to the final one along 600 iterations."""
    return {
        "format_version": 1,
        "prune_rate": 0.8,
        "scope": "global",
        "final_iteration": 600,
        "stable_at": stable_at,
        "points": [
            {
                "iteration": 600 * (k + 1) // points,
                "iou_kept": 0.5 + 0.5 * (k + 1) / points,
                "iou_pruned": 0.85 + 0.15 * (k + 1) / points,
                "chance_kept": 0.11,
                "chance_pruned": 0.67,
                "kappa": 0.4 + 0.6 * (k + 1) / points,
                "layer_kappa": 0.3 + 0.7 * (k + 1) / points,
                "iou_previous": None if k == 0 else 0.9,
                "to": "final",
                "groups": {
                    g: {"kappa": 0.1 * j + 0.5 * (k + 1) / points} for j, g in enumerate(groups)
                },
                "ticket": None,
            }
            for k in range(points)
        ],
    }


def make_overlap(names, *, groups=("all", "backbone", "fpn")):
    """Overlaps of every pair; kappa falls with the distance of the names in the list."""
    pairs = [
        {
            "first": first,
            "second": second,
            "group": group,
            "kappa": 0.8 / (place + 1) - 0.05,
            "layer_kappa": 0.6 / (place + 1) - 0.05,
            "iou": 0.11 + 0.7 / (place + 1),
            "chance": 0.11,
            "density_first": 0.2,
            "density_second": 0.2,
        }
        for group in groups
        for start, first in enumerate(names)
        for place, second in enumerate(names[start + 1 :])
    ]
    return {"format_version": 1, "names": list(names), "groups": list(groups), "pairs": pairs}
