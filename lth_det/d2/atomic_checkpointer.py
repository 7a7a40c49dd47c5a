"""Detectron2's checkpointer with files that are either whole or absent."""

from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer

from lth_det.errors import RunError
from lth_det.io import atomic_path, atomic_write


class AtomicCheckpointer(DetectionCheckpointer):
    """Writes checkpoints and ``last_checkpoint`` to a temporary file first, then renames.

    A process that is killed, or runs out of disk, while it writes leaves the checkpoint before as the last one. Files
    are those that Detectron2 writes; equal states give equal bytes.
    """

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``<name>.pth`` with the model, the checkpointables and ``kwargs``, and note it as the last one.

        Raises:
            RunError: the file cannot be written.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict()}
        data.update({key: item.state_dict() for key, item in self.checkpointables.items()})
        data.update(kwargs)
        path = Path(self.save_dir) / f"{name}.pth"
        self.logger.info("Saving checkpoint to %s", path)
        # Through a handle: given a path, torch.save would put the temporary name into the file.
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            try:
                torch.save(data, handle)
            except RuntimeError as error:  # torch's zip writer hides the operating system's error
                raise RunError(
                    f"{path} cannot be written ({error}); free some space and run the same command with --resume."
                ) from error
        self.tag_last_checkpoint(path.name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Note the newest checkpoint in ``last_checkpoint``."""
        atomic_write(Path(self.save_dir) / "last_checkpoint", last_filename_basename)
