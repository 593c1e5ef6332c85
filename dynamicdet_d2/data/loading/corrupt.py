# SPDX-License-Identifier: Apache-2.0
"""Corrupt images: one sentence that names the file, and a count of those that were left out."""

import logging
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from detectron2.data.detection_utils import read_image
from torch.utils.data import DataLoader, Dataset

from dynamicdet_d2.data.image_files import decoding_fault
from dynamicdet_d2.utils import stopping
from dynamicdet_d2.utils.words import in_words, shown

logger = logging.getLogger(__name__)

Sample = dict[str, Any]
Mapper = Callable[[Sample], Sample]
Read = TypeVar("Read")

# Key under which a training sample carries the errors of the images it stands in for.
REPLACED = "replaced_corrupt_images"
# Pillow's words where an image is resized to a side of less than half a pixel.
_SIDE_OF_NOTHING = "height and width must be > 0"


class CorruptImageError(ValueError):
    """An image that cannot be read or has another size than its annotation says.

    Args:
        file_name, image_id: of the data set's dict.
        cause: what is wrong, as the end of a sentence.
    """

    def __init__(self, file_name: str, image_id: object, cause: str) -> None:
        super().__init__(file_name, image_id, cause)
        self.file_name = file_name
        known = "" if image_id is None else f" (id {image_id!r})"
        self.sentence = f"Image {file_name}{known} {cause}."

    def __str__(self) -> str:
        return f"{self.sentence} DATALOADER.SKIP_CORRUPT_IMAGES True leaves such images out."


class NoUsableImageError(ValueError):
    """So many corrupt images in a row that skipping them is no remedy."""


class NoSampleError(ValueError):
    """A mapper gives something else than a sample."""


def refuse_no_mapper(mapper: object) -> None:
    """
    Raises:
        ValueError: it cannot be called, or is a class that no samples are of, such as
            ``DatasetMapper`` itself.
    """
    if not callable(mapper) or (isinstance(mapper, type) and not issubclass(mapper, Mapping)):
        raise ValueError(
            f"The mapper is {shown(mapper)}; it must be a function of one of Detectron2's dicts, "
            "or an object such as DatasetMapper(cfg, is_train=True)."
        )


class NamedErrors(Generic[Read]):
    """A mapper, or what else reads an image, whose failures name the image.

    A file whose pixels would not survive the reading (``decoding_fault``) is not read. Where the
    mapper raises, the image is read once more: if that fails or shows another size than
    the data set's, or nothing was left of it in resizing, a ``CorruptImageError`` is raised. Any
    other failure is the mapper's own; it passes through with the image added as a note, so that
    skipping cannot hide a bug.
    """

    def __init__(self, mapper: Callable[[Sample], Read]) -> None:
        """
        Raises:
            ValueError: it is none.
        """
        refuse_no_mapper(mapper)
        self._mapper = mapper

    def __call__(self, dataset_dict: Sample) -> Read:
        """Maps one image.

        Raises:
            CorruptImageError: also where the mapper returns None, Detectron2's way to refuse.
            RuntimeError: it raises StopIteration, which would end the whole pass in silence.
        """
        sample: Read | None = None
        said = dict(dataset_dict)  # mappers may write into what they are given
        fault = decoding_fault(dataset_dict["file_name"]) if "file_name" in dataset_dict else None
        try:
            if fault is None:
                sample = self._mapper(dataset_dict)
                fault = "was refused by the mapper" if sample is None else None
        except Exception as error:
            fault = image_fault(said)
            if fault is None and str(error) == _SIDE_OF_NOTHING:
                fault = "is so narrow that its shorter side would vanish, as INPUT has it resized"
            if fault is None:
                error.add_note(f"While loading image {said.get('file_name')}.")
                if isinstance(error, StopIteration):
                    raise RuntimeError("The mapper raised StopIteration.") from error
                raise
        if sample is None or fault is not None:
            raise CorruptImageError(str(said.get("file_name")), said.get("image_id"), str(fault))
        return sample


def _kind_fault(dataset_dict: Sample) -> str | None:
    """What is wrong with a file that is there and no file of bytes."""
    try:
        mode = os.stat(dataset_dict["file_name"]).st_mode
    except (KeyError, OSError, ValueError):
        return None  # addresses, and what is missing, are the mapper's affair
    if stat.S_ISREG(mode):
        return None
    kind = "a pipe" if stat.S_ISFIFO(mode) else "a folder" if stat.S_ISDIR(mode) else "a device"
    return f"is {kind}, not a file"


def image_fault(dataset_dict: Sample) -> str | None:
    """What is wrong with the image file of a data set's dict; None if nothing is."""
    if "file_name" not in dataset_dict:
        return None
    try:
        height, width = read_image(dataset_dict["file_name"], format="BGR").shape[:2]
    except FileNotFoundError:
        return "does not exist"
    except MemoryError:
        return None
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files
        return f"cannot be read: {in_words(error)}"
    expected = dataset_dict.get("width", width), dataset_dict.get("height", height)
    if expected == (width, height):
        return None
    return (
        f"is {width}x{height} pixels (EXIF rotation applied), but the data set says "
        f"{expected[0]}x{expected[1]}"
    )


class ErrorsAsItems(Dataset):
    """Hands corrupt images on as items: an exception out of a worker arrives as a page of text."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __getitem__(self, key: int) -> Sample | ValueError:
        try:
            return self._dataset[key]
        except (CorruptImageError, NoSampleError, NoUsableImageError) as error:
            return error


class ImageLoader:
    """Batches of a ``DataLoader`` over ``ErrorsAsItems``, with corrupt images raised or left out.

    Iterating gives ``list[dict]``, never an empty list. With ``skip_corrupt`` each corrupt file is
    logged once, in the main process, whatever the number of workers; otherwise it is raised.

    Attributes:
        corrupt_images: file name -> how often reading it failed, on this rank.
    """

    def __init__(self, loader: DataLoader, *, skip_corrupt: bool) -> None:
        self._loader = loader
        self._skip_corrupt = skip_corrupt
        self.corrupt_images: Counter[str] = Counter()

    def __len__(self) -> int:
        """Batches of this rank if nothing is left out; TypeError for an endless stream."""
        return len(self._loader)

    def __iter__(self) -> Iterator[list[Sample]]:
        for items in self._loader:
            stopping.look()
            batch = [item for item in items if self._is_sample(item)]
            if batch:
                yield batch

    def _is_sample(self, item: Sample | ValueError) -> bool:
        if isinstance(item, CorruptImageError) and self._skip_corrupt:
            self._count(item)
            return False
        if isinstance(item, ValueError):
            raise item
        for error in item.pop(REPLACED, ()):
            self._count(error)
        return True

    def _count(self, error: CorruptImageError) -> None:
        self.corrupt_images[error.file_name] += 1
        if self.corrupt_images[error.file_name] == 1:
            logger.warning(
                "%s Left out; corrupt images so far: %d.", error.sentence, len(self.corrupt_images)
            )
