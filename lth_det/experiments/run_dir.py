"""Every path of a run, its identity, and which of its stages are finished."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lth_det.errors import RunError
from lth_det.io import atomic_write_json

_STAGES = ("round_*", "ticket*", "rst*", "rst/*", "gradual*")  # folders of stages


class RunDir:
    """The folder of one run.

    A stage is finished when its record (``<stage>/stage.json``) exists; the record is written last and atomically, so a
    killed run is never taken for a finished one.

    Args:
        root: the run's ``OUTPUT_DIR``.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self.results_file = self.root / "results.json"
        self.timings_file = self.root / "timings.json"
        self.identity_file = self.root / "run.json"
        self.early_bird_file = self.root / "early_bird.json"
        self.sensitivity_file = self.root / "sensitivity.json"
        self.report = self.root / "report"

    def round_name(self, number: int) -> str:
        """Return the folder name of a round, such as ``"round_01"``."""
        return f"round_{number:02d}"

    def stage_folder(self, name: str) -> Path:
        """Return the folder of a stage."""
        return self.root / name

    def ticket_file(self, name: str) -> Path:
        """Return the ticket file of a stage."""
        return self.root / name / "ticket.safetensors"

    @property
    def snapshot_file(self) -> Path:
        """The rewind snapshot that the dense round saves."""
        return self.root / self.round_name(0) / "rewind.safetensors"

    def relative(self, path: Path | None) -> str | None:
        """Return ``path`` relative to the run's folder, with forward slashes."""
        return None if path is None else path.relative_to(self.root).as_posix()

    def record(self, name: str) -> dict[str, Any] | None:
        """Return the record of a finished stage, ``None`` when it is not finished.

        Raises:
            RunError: the record is damaged.
        """
        return _read_json(self.root / name / "stage.json")

    def finish(self, name: str, record: Mapping[str, Any]) -> None:
        """Mark a stage as finished."""
        atomic_write_json(self.root / name / "stage.json", dict(record))

    def claim(self, settings: Mapping[str, Any]) -> str:
        """Make this folder the run of ``settings``, or check that it already is; return their SHA-256.

        A folder in which no stage has begun, after a mistake that was found early, may change its settings.

        Args:
            settings: flat setting name -> JSON value; what the results depend on.

        Raises:
            RunError: the folder holds a run with other settings (the sentence lists them), or cannot be written.
        """
        text = json.dumps(dict(settings), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        known = _read_json(self.identity_file)
        if known is None or not self._begun():
            atomic_write_json(
                self.identity_file, {"config_sha256": digest, "settings": dict(settings)}
            )
        elif known.get("config_sha256") != digest:
            settings_then = known.get("settings")
            old = settings_then if isinstance(settings_then, dict) else {}
            now = json.loads(text)
            changed = sorted(key for key in {*old, *now} if old.get(key) != now.get(key))
            shown = "; ".join(
                f"{key}: {old.get(key)!r}, now {now.get(key)!r}" for key in changed[:6]
            )
            more = f"; and {len(changed) - 6} more" if len(changed) > 6 else ""
            raise RunError(
                f"{self.root} holds a run with other settings ({shown}{more}); choose another OUTPUT_DIR or delete it."
            )
        return digest

    def _begun(self) -> bool:
        return any(path.is_dir() for pattern in _STAGES for path in self.root.glob(pattern))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process; the operating system lets go of it however the process ends.

        Raises:
            RunError: another process works on the folder, or it cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            handle = (self.root / ".lock").open("w")
        except OSError as error:
            raise RunError(
                f"OUTPUT_DIR {self.root} cannot be written ({error.strerror}); choose another folder."
            ) from error
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunError(
                    f"{self.root} is in use by another process; wait for it or choose another OUTPUT_DIR."
                ) from error
            self._remove_leftovers()
            yield

    def _remove_leftovers(self) -> None:
        """Remove temporary files that a killed process left of this run; nobody else writes them under the lock."""
        own = (
            self.results_file,
            self.timings_file,
            self.identity_file,
            self.early_bird_file,
            self.sensitivity_file,
        )
        found = [path for file in own for path in self.root.glob(f".{file.name}.*.tmp")]
        for pattern in (*_STAGES, "round_00/early_bird", "report"):
            found += self.root.glob(f"{pattern}/.*.tmp")
        for path in found:
            path.unlink(missing_ok=True)
        for folder in (*self.root.glob(".report.*.tmp"), *self.root.glob(".report.*.old")):
            shutil.rmtree(folder, ignore_errors=True)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(
            f"{path} is damaged ({error}); delete {path.parent} and run again."
        ) from error
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged (not an object); delete {path.parent} and run again.")
    return value
