"""The code in docs/ticket_format.md reads a ticket without this package."""

from pathlib import Path

import torch

from lth_det.tickets import Mask, Provenance, Ticket, save_ticket

DOCUMENT = Path(__file__).parents[3] / "docs" / "ticket_format.md"


def test_the_documented_code_reads_a_mask(tmp_path, monkeypatch):
    tensors = {"conv": torch.arange(54).reshape(3, 2, 3, 3) % 5 == 0, "scalar": torch.tensor(True)}
    provenance = Provenance("magnitude", "global", 0.8, {}, 0.8, 1, None, "t", "w", 1, "init")
    save_ticket(tmp_path / "ticket.safetensors", Ticket(Mask(tensors), None, provenance))
    code = DOCUMENT.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, str(DOCUMENT), "exec"), names)
    assert set(names["masks"]) == {"conv", "scalar"}
    for name, mask in names["masks"].items():
        assert torch.equal(torch.from_numpy(mask), tensors[name])
