"""Errors whose message is meant for the person who ran the command.

Each message is one sentence that names the file or option, says what was wrong and what to do. The command line
tools print it and exit with code 2; any other exception is a defect of ours and keeps its traceback.
"""

from collections.abc import Iterable


class LthDetError(Exception):
    """Base class of every error caused by input that a user can correct."""


class ConfigError(LthDetError):
    """A configuration file or an option has a value that cannot be used."""


class DataError(LthDetError):
    """A dataset is missing, damaged or not in the expected format."""


class InputError(LthDetError):
    """A ground-truth or result file given to the analysis cannot be used."""


class TicketFormatError(LthDetError):
    """A file is not a ticket of ours, or it is damaged."""


class MaskMismatchError(LthDetError):
    """A mask, ticket or snapshot does not fit the model it is applied to.

    Attributes:
        differences: every difference in words; the sentence itself names the first 20 of each kind.
    """

    def __init__(self, sentence: str, differences: Iterable[str] = ()) -> None:
        super().__init__(sentence)
        self.differences = tuple(differences)


class ScopeError(LthDetError):
    """A pruning request cannot be met within its scope."""


class RunError(LthDetError):
    """A run directory is in a state that the command cannot go on from."""


class ReportedElsewhereError(LthDetError):
    """Another process of this run failed and says why; this one leaves with the same exit code and says nothing."""
