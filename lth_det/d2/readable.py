"""Annotations and images that cannot be read: one sentence, from the processes that load images too."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from detectron2.data.detection_utils import SizeMismatchError
from PIL.Image import DecompressionBombError

from lth_det.errors import DataError

_LONGEST = 200
# What Detectron2's readers raise for files that are not as they expect; the XML parser's error is a SyntaxError.
_UNREADABLE = (
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    SyntaxError,
)


class SampleError(DataError):
    """An image cannot be prepared.

    A loader's worker hands an error on as a text with its traceback, from which the loader makes an error of the same
    type: the sentence in it is kept.
    """

    def __init__(self, text: str) -> None:
        name = f"{type(self).__module__}.{type(self).__qualname__}: "
        super().__init__(" ".join(text.rpartition(name)[2].split()))


class SentenceMapper:
    """A mapper of Detectron2 whose trouble with an image file is a sentence.

    Args:
        mapper: makes a sample of an image's record.
    """

    def __init__(self, mapper: Callable[[dict[str, Any]], Any]) -> None:
        self._mapper = mapper

    def __call__(self, record: dict[str, Any]) -> Any:
        """Return the sample.

        Raises:
            SampleError: the image is missing, damaged, of another size than its annotations say, or a decompression
                bomb.
        """
        try:
            return self._mapper(record)
        except (OSError, SizeMismatchError, DecompressionBombError) as error:
            raise SampleError(
                f"The image {record.get('file_name')} cannot be used ({_reason(error)}); restore it, or take it out of the annotations."
            ) from error


@contextlib.contextmanager
def annotations_of(names: Sequence[str]) -> Iterator[None]:
    """Read the annotations of registered data sets inside.

    Raises:
        DataError: Detectron2 cannot read them.
    """
    try:
        yield
    except _UNREADABLE as error:
        raise DataError(
            f"Detectron2 cannot read the annotations of {', '.join(names)} ({_reason(error)}); repair or replace the files."
        ) from error


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:_LONGEST]}"
