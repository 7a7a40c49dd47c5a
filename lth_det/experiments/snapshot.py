"""The rewind snapshot of a run: a state dict in a safetensors file."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lth_det.errors import RunError
from lth_det.io import atomic_path


def save_snapshot(path: Path, state: Mapping[str, Tensor], *, iteration: int) -> None:
    """Write ``state`` (contiguous CPU tensors that share no storage) to ``path``, atomically.

    Args:
        path: the file.
        state: names as in ``model.state_dict()``.
        iteration: number of training steps done; stored with the tensors.

    Raises:
        RunError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        try:
            save_file(dict(state), temporary, metadata={"iteration": str(iteration)})
        except SafetensorError as error:  # how safetensors reports a full disk
            raise RunError(
                f"{path} cannot be written ({error}); free some space and run the same command again."
            ) from error


def load_snapshot(path: Path) -> dict[str, Tensor]:
    """Return the state dict in ``path``.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as handle:
            return {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{path} is not a readable rewind snapshot ({error}); delete {path.parent} and run again."
        ) from error
