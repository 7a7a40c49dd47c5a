#!/usr/bin/env python
"""Bytes of a sparse detector in several files, beside the least possible, and how fast they are written and read.

    python benchmarks/ticket_size.py                         # a minute, 2 GB of memory, 1 GB in the temporary folder

A Mask R-CNN R-50 FPN with random weights under global magnitude masks. ``bound`` is the entropy of the mask (independent
weights with each layer's density), the kept weights in their dtype, and everything outside the mask. Times are wall
times of one thread, whole files, flushed to disk (fsync) for all; the forms take turns.
"""

import gzip
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import finish, interleaved, least, parser, table
from benchmarks.detectors import detector, magnitude_mask
from lth_det.export import load_compact, save_compact
from lth_det.export.sizes import storage_sizes
from lth_det.io import atomic_path
from lth_det.tickets import Mask, Provenance, Ticket, load_ticket, save_ticket

TARGET = 0.10
DENSITIES = (0.5, 0.2, 0.1, 0.05, 0.02)
TIMED = 0.2


def sparse_state(model: torch.nn.Module, mask: Mask) -> dict[str, Tensor]:
    """Return the state dict with its zeros."""
    state = {name: value.detach().clone() for name, value in model.state_dict().items()}
    for name, keep in mask.items():
        state[name].masked_fill_(~keep, 0.0)
    return state


def save_torch(path: Path, content: Any) -> None:
    """Write with torch.save, flushed as all other files."""
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def save_gzip(path: Path, content: Any) -> None:
    """Write with torch.save into a gzip file of level 6."""
    with atomic_path(path) as temporary, gzip.open(temporary, "wb", compresslevel=6) as handle:
        torch.save(content, handle)


def indices_and_values(state: dict[str, Tensor], mask: Mask) -> dict[str, Any]:
    """Return 32-bit indices and values of kept weights, and the other tensors (the predecessor's form)."""
    content: dict[str, Any] = {}
    for name, value in state.items():
        if name in mask:
            index = np.flatnonzero(mask[name].numpy()).astype(np.int32)
            content[name] = (torch.from_numpy(index), value.reshape(-1)[index], value.shape)
        else:
            content[name] = value
    return content


def from_indices(path: Path) -> dict[str, Tensor]:
    """Read what :func:`indices_and_values` gave into dense tensors."""
    state = {}
    for name, value in torch.load(path, weights_only=True).items():
        if isinstance(value, tuple):
            index, kept, shape = value
            dense = torch.zeros(shape)
            dense.view(-1)[index.long()] = kept
            state[name] = dense
        else:
            state[name] = value
    return state


def from_gzip(path: Path) -> Any:
    """Read a compressed checkpoint."""
    with gzip.open(path) as source, tempfile.TemporaryFile() as plain:
        shutil.copyfileobj(source, plain, 2**20)
        plain.seek(0)
        return torch.load(plain, weights_only=True)


def sizes(model: torch.nn.Module, mask: Mask, folder: Path) -> dict[str, Any]:
    """Return bytes of each form for one mask."""
    state = sparse_state(model, mask)
    found: dict[str, Any] = {}
    for dtype, width in (("same", None), ("float16", 2)):
        path = folder / "compact"
        save_compact(path, state, mask, dtype=dtype)
        bound = storage_sizes(state, mask, value_bytes=width)
        found[dtype] = {"bytes": path.stat().st_size, **bound}
        found[dtype]["over_bound"] = found[dtype]["bytes"] / bound["bound"] - 1
    save_ticket(folder / "ticket", Ticket(mask, state, _provenance(mask)))
    found["ticket_bytes"] = (folder / "ticket").stat().st_size
    return found


def speeds(model: torch.nn.Module, mask: Mask, folder: Path, repeats: int) -> dict[str, Any]:
    """Return seconds of writing and reading, and bytes, of each form for one mask."""
    state = sparse_state(model, mask)
    ticket = Ticket(mask, state, _provenance(mask))
    forms: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any]]] = {
        "torch.save, dense": (
            lambda path: save_torch(path, state),
            lambda path: torch.load(path, weights_only=True),
        ),
        "compact (ours)": (lambda path: save_compact(path, state, mask), load_compact),
        "compact float16 (ours)": (
            lambda path: save_compact(path, state, mask, dtype="float16"),
            load_compact,
        ),
        "ticket (ours, dense start weights)": (lambda path: save_ticket(path, ticket), load_ticket),
        "index + value, torch.save": (
            lambda path: save_torch(path, indices_and_values(state, mask)),
            from_indices,
        ),
        "torch.save + gzip": (lambda path: save_gzip(path, state), from_gzip),
    }
    paths = {name: folder / f"form{index}" for index, name in enumerate(forms)}

    def jobs(kind: int) -> dict[str, Callable[[], Any]]:
        return {
            name: (lambda form=form[kind], path=paths[name]: form(path))  # type: ignore[misc]
            for name, form in forms.items()
        }

    write, read = interleaved(jobs(0), repeats), interleaved(jobs(1), repeats)
    return {
        name: {"bytes": path.stat().st_size, "write": least(write[name]), "read": least(read[name])}
        for name, path in paths.items()
    }


def _provenance(mask: Mask) -> Provenance:
    return Provenance("magnitude", "global", mask.prune_rate, {}, 0.5, 1, None, "t", "w", 1, "init")


def markdown(figures: dict[str, Any]) -> str:
    """Return the tables."""
    rows = []
    for density, value in figures["sizes"].items():
        for dtype in ("same", "float16"):
            row = value[dtype]
            rows.append(
                (
                    f"{100 * (1 - float(density)):.0f} %",
                    "float32" if dtype == "same" else dtype,
                    *(_megabytes(row[key]) for key in ("bytes", "bound")),
                    f"{100 * row['over_bound']:.1f} %",
                    *(_megabytes(row[key]) for key in ("packed_mask", "index_and_value", "dense")),
                    f"{row['dense'] / row['bytes']:.1f}",
                )
            )
    header = (
        "prune rate",
        "values",
        "compact file, MB",
        "bound, MB",
        "over the bound",
        "packed mask",
        "index + value",
        "dense",
        "times smaller",
    )
    worst = max(
        value[dtype]["over_bound"]
        for value in figures["sizes"].values()
        for dtype in ("same", "float16")
    )
    plain = figures["speeds"]["torch.save, dense"]
    times = [
        (
            name,
            _megabytes(row["bytes"]),
            f"{row['write']:.2f}",
            f"{row['write'] / plain['write']:.2f}",
            f"{row['read']:.2f}",
            f"{row['read'] / plain['read']:.2f}",
        )
        for name, row in figures["speeds"].items()
    ]
    return "\n\n".join(
        [
            table(header, rows),
            f"Target: at most {100 * TARGET:.0f} % over the bound; measured {100 * worst:.1f} %, "
            f"{'met' if worst <= TARGET else 'missed'}. Packed mask, index + value and dense are sums of bytes, the compact "
            "file is the file with its header.",
            f"Writing and reading at prune rate {100 * (1 - figures['timed']):.0f} %:",
            table(
                ("form", "MB", "write, s", "/ torch.save", "read to dense, s", "/ torch.load"),
                times,
            ),
        ]
    )


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.2f}"


def main() -> None:
    """Measure and print."""
    made = parser(__doc__ or "")
    made.add_argument("--repeats", type=int, default=3)
    arguments = made.parse_args()
    torch.set_num_threads(1)
    quick = arguments.quick
    cfg, model = detector("small" if quick else "R-50")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {
            "sizes": {
                str(density): sizes(model, magnitude_mask(cfg, model, density), folder)
                for density in ((0.1,) if quick else DENSITIES)
            },
            "timed": TIMED,
            "speeds": speeds(
                model, magnitude_mask(cfg, model, TIMED), folder, 1 if quick else arguments.repeats
            ),
            "disk": os.statvfs(folder).f_bsize,
        }
    finish(arguments, figures, markdown(figures))


if __name__ == "__main__":
    main()
