"""Detectron2's checkpointer, but files are either whole or absent, and a file that gives nothing is an error."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer

from lth_det.d2.checkpoint import UNREADABLE
from lth_det.errors import RunError
from lth_det.io import atomic_path, atomic_write


class StrictCheckpointer(DetectionCheckpointer):
    """Writes checkpoints and ``last_checkpoint`` to a temporary file first, then renames; complains about bad files.

    A process that is killed, or runs out of disk, while it writes leaves the checkpoint before as the last one. Files
    are those that Detectron2 writes; equal states give equal bytes.
    """

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load as Detectron2 does: what has the name and shape of something in the model.

        Raises:
            RunError: the file is missing or damaged, or nothing in it fits the model.
        """
        if path and "://" not in path and not Path(path).is_file():
            raise RunError(
                f"The checkpoint {path} does not exist; restore it, or run without --resume."
            )
        self._path = path
        rest: dict[str, Any] = super().load(path, *args, **kwargs)
        return rest

    def _load_file(self, filename: str) -> Any:
        try:
            return super()._load_file(filename)
        except UNREADABLE as error:
            reason = str(error).split("\n", maxsplit=1)[0]
            raise RunError(f"{filename} cannot be read as a checkpoint ({reason}).") from error

    def _load_model(self, checkpoint: Any) -> Any:
        try:
            incompatible = super()._load_model(checkpoint)
        except (ValueError, TypeError, AttributeError) as error:
            raise RunError(
                f"{self._path} holds something else than named tensors ({error})."
            ) from error
        # Detectron2 only logs what does not fit: a file of another model "loads" and changes nothing.
        if {name for name, _ in self.model.named_parameters()} <= set(incompatible.missing_keys):
            raise RunError(
                f"{self._path} holds no tensor with a name and shape of this model, so nothing was loaded from it; "
                "name a checkpoint of this architecture."
            )
        return incompatible

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``<name>.pth`` with the model, the checkpointables and ``kwargs``, and note it as the last one.

        Raises:
            RunError: the file cannot be written, or a weight is not finite: each file on disk is a good state.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict()}
        self._check_finite(data["model"], kwargs.get("iteration"))
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

    def _check_finite(self, weights: Mapping[str, torch.Tensor], iteration: int | None) -> None:
        bad = [name for name, value in weights.items() if not bool(torch.isfinite(value).all())]
        if bad:
            last = self.get_checkpoint_file() if self.has_checkpoint() else "not there yet"
            raise RunError(
                f"Training diverged: after iteration {iteration} the values of {bad[0]} and {len(bad) - 1} more tensors "
                f"are not finite, so nothing is saved or pruned; the last good checkpoint is {last}; lower "
                "SOLVER.BASE_LR or raise SOLVER.WARMUP_ITERS and choose another OUTPUT_DIR."
            )

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Note the newest checkpoint in ``last_checkpoint``."""
        atomic_write(Path(self.save_dir) / "last_checkpoint", last_filename_basename)
