"""The processes of a data-parallel run, through torch.distributed as Detectron2 sets it up."""

from collections.abc import Callable

import torch
import torch.distributed as dist
from detectron2.utils import comm

from lth_det.errors import ReportedElsewhereError, RunError

_DONE, _FAILED = b"done", b"failed"


class Processes:
    """All processes of the run; with one process every call returns at once."""

    @property
    def is_main(self) -> bool:
        """Whether this is the process of rank 0."""
        return bool(comm.is_main_process())

    def on_main(self, work: Callable[[], bytes]) -> bytes:
        """Let rank 0 do ``work`` and return its bytes on every process.

        The ranks hear how it went before anything else, so that a failure stops all of them at once.

        Raises:
            Exception: what ``work`` raised, on rank 0.
            ReportedElsewhereError: on the other ranks when ``work`` failed.
        """
        if comm.get_world_size() == 1:
            return work()
        if not self.is_main:
            if self.broadcast(None) == _FAILED:
                raise ReportedElsewhereError("Rank 0 failed; its message says why.")
            return self.broadcast(None)
        try:
            content = work()
        except BaseException:
            self.broadcast(_FAILED)
            raise
        self.broadcast(_DONE)
        return self.broadcast(content)

    def broadcast(self, value: bytes | None) -> bytes:
        """Return the bytes of rank 0 on every process (as uint8 tensors; nothing is pickled).

        Raises:
            ValueError: rank 0 gave ``None``.
        """
        if self.is_main and value is None:
            raise ValueError("The main process has to give the bytes.")
        if comm.get_world_size() == 1:
            return value or b""
        device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
        size = torch.tensor([len(value or b"")], dtype=torch.int64, device=device)
        dist.broadcast(size, 0)
        if not size.item():
            return b""  # torch makes no tensor of an empty buffer
        if self.is_main:
            data = torch.frombuffer(bytearray(value or b""), dtype=torch.uint8).to(device)
        else:
            data = torch.empty(int(size.item()), dtype=torch.uint8, device=device)
        dist.broadcast(data, 0)
        return data.cpu().numpy().tobytes()

    def agree(self, value: str, what: str) -> None:
        """Check that all processes hold the same text.

        Raises:
            RunError: they do not; ``what`` names it.
        """
        if comm.get_world_size() == 1:
            return
        main = self.broadcast(value.encode()).decode()
        same = comm.all_gather(main == value)
        if not all(same):
            ranks = [str(rank) for rank, equal in enumerate(same) if not equal]
            raise RunError(
                f"{what} differs between processes (ranks {', '.join(ranks)} against rank 0)."
            )
