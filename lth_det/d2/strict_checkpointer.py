"""Detectron2's checkpointer, but files are either whole or absent, and a file that gives nothing is an error."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer

from lth_det.errors import RunError
from lth_det.io import atomic_write
from lth_det.tickets.array_pickle import load_array_pickle
from lth_det.tickets.checkpoint_file import UNREADABLE, save_checkpoint, why_unreadable


def _zoo_checkpoint(content: Any) -> Any:
    """Return the content of a model zoo's ``.pkl`` in the form that ``DetectionCheckpointer`` expects."""
    if not isinstance(content, dict) or ("model" in content and "__author__" in content):
        return content
    blobs = content.get("blobs", content)
    kept = {name: value for name, value in blobs.items() if not name.endswith("_momentum")}
    return {"model": kept, "__author__": "Caffe2", "matching_heuristics": True}


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
        # Not Detectron2's reader: it unpickles .pkl files, and with an older torch .pth files too.
        if filename.endswith(".pkl"):
            return _zoo_checkpoint(load_array_pickle(filename))
        try:
            content = torch.load(filename, map_location="cpu", weights_only=True)
        except UNREADABLE as error:
            raise RunError(f"{filename} {why_unreadable(error)}.") from error
        if not isinstance(content, dict):
            raise RunError(f"{filename} holds something else than named tensors.")
        if filename.endswith(".pyth") and isinstance(content.get("model_state"), dict):
            return {
                "model": content["model_state"],
                "__author__": "pycls",
                "matching_heuristics": True,
            }
        return content if "model" in content else {"model": content}

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
        save_checkpoint(path, data)
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
