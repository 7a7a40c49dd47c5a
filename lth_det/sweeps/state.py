"""The state of a sweep on disk: ``sweep.json``, the lock of the folder, and which runs are finished."""

import contextlib
import dataclasses
import fcntl
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lth_det.errors import RunError
from lth_det.io import atomic_write_json
from lth_det.sweeps.job import read_small
from lth_det.sweeps.model import Run, Sweep, dependants

FORMAT_VERSION = 1
PENDING, RUNNING, FINISHED = "pending", "running", "finished"
FAILED, BLOCKED = "failed", "blocked"


@dataclasses.dataclass
class SweepState:
    """What is known about the runs of a sweep, across restarts.

    Attributes:
        root: folder of the sweep.
        records: run name -> its record (``state``, ``sha256``, ``commands``, ``seconds``, ...).
    """

    root: Path
    records: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    @property
    def file(self) -> Path:
        """``sweep.json``."""
        return self.root / "sweep.json"

    def job_folder(self, name: str) -> Path:
        """Return the folder of a run's logs, lock and outcome."""
        return (self.root / "jobs" / name).resolve()

    @classmethod
    def load(cls, root: str | Path) -> "SweepState":
        """Return the state in a folder; empty if there is none.

        Raises:
            RunError: ``sweep.json`` is damaged.
        """
        state = cls(Path(root))
        if not state.file.exists():
            return state
        value = read_small(state.file)
        if value is None or not isinstance(value.get("runs"), dict):
            raise RunError(
                f"{state.file} is damaged; delete it (finished runs are then trained again) or choose another --output."
            )
        state.records = value["runs"]
        return state

    def save(self, sweep: Sweep, **facts: Any) -> None:
        """Write ``sweep.json``, atomically.

        Raises:
            RunError: it cannot be written.
        """
        atomic_write_json(
            self.file,
            {
                "format_version": FORMAT_VERSION,
                "name": sweep.name,
                "kind": sweep.kind,
                "plan_sha256": sweep.plan_sha256,
                "runs": self.records,
                **facts,
            },
        )

    def state_of(self, run: Run) -> str:
        """Return ``finished`` if the run's outcome is there and came from the same commands, else the recorded state.

        A run counts as finished only when its done-file is there, the recorded hash is that of its commands and
        configs, and the last start did not end with an error.
        """
        record = self.records.get(run.name)
        if record is None or record.get("sha256") != run.sha256:
            return PENDING
        state = str(record.get("state", PENDING))
        if state == FAILED:
            return FAILED
        outcome = read_small(self.job_folder(run.name) / "outcome.json")
        code = None if outcome is None else outcome.get("exit_code")
        if run.is_done() and (run.is_told(code) or (outcome is None and state == FINISHED)):
            return FINISHED
        return PENDING if state == FINISHED else state

    def changed(self, sweep: Sweep) -> dict[str, str]:
        """Return run name -> what changed, for begun runs whose commands or configs are no longer those of the plan."""
        found = {}
        for run in sweep.runs:
            record = self.records.get(run.name)
            begun = record is not None and (
                record.get("state") in (FINISHED, RUNNING) or Path(run.folder).exists()
            )
            if record is not None and begun and record.get("sha256") != run.sha256:
                found[run.name] = _difference(record, run)
        return found

    def claim(self, sweep: Sweep, *, redo_changed: bool) -> list[str]:
        """Make this folder the sweep of these runs; return the names of runs that will be done again.

        Args:
            sweep: the runs.
            redo_changed: delete what changed runs, and those that need them, have written.

        Raises:
            RunError: runs have changed and ``redo_changed`` is not given; the sentence lists them.
        """
        changed = self.changed(sweep)
        if not changed:
            return []
        if not redo_changed:
            shown = "; ".join(f"{name}: {what}" for name, what in list(changed.items())[:6])
            more = f"; and {len(changed) - 6} more" if len(changed) > 6 else ""
            raise RunError(
                f"{self.root} holds runs that the plan now describes differently ({shown}{more}); choose another --output, "
                "or delete their results and do them again with --redo-changed."
            )
        again = set(changed) | dependants(sweep.runs, set(changed))
        for run in sweep.runs:
            if run.name in again:
                shutil.rmtree(run.folder, ignore_errors=True)
                shutil.rmtree(self.job_folder(run.name), ignore_errors=True)
                self.records.pop(run.name, None)
        return [run.name for run in sweep.runs if run.name in again]

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process; the operating system lets go of it however the process ends.

        Raises:
            RunError: another process works on the sweep, or the folder cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            handle = (self.root / ".lock").open("w")
        except OSError as error:
            raise RunError(
                f"{self.root} cannot be written ({error.strerror}); choose another --output."
            ) from error
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunError(
                    f"{self.root} is in use by another sweep; wait for it or choose another --output."
                ) from error
            for leftover in self.root.glob(".*.json.*.tmp"):
                leftover.unlink(missing_ok=True)
            yield


def _difference(record: dict[str, Any], run: Run) -> str:
    old = record.get("commands")
    new = json.loads(json.dumps(run.commands))
    if old != new:
        before = [word for line in old or [] for word in line]
        after = [word for line in new for word in line]
        pairs = zip(before, after, strict=False)
        first = next(((a, b) for a, b in pairs if a != b), None)
        return "its commands" if first is None else f"{first[0]!r}, now {first[1]!r}"
    known = record.get("identity", {})
    names = [path for path, value in run.identity.items() if known.get(path) != value]
    return f"the content of {', '.join(names)}" if names else "its done-file"
