# SPDX-License-Identifier: Apache-2.0
"""Checks the "images" of a COCO json: ids, sizes, and whether the files are there."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeGuard

from dynamicdet_d2.data.check.findings import DatasetReport, Findings
from dynamicdet_d2.data.image_files import IMAGE_ENDINGS, decoding_fault, displayed_size
from dynamicdet_d2.data.register import LARGEST_ID
from dynamicdet_d2.utils.files import names_a_file
from dynamicdet_d2.utils.paths import no_such
from dynamicdet_d2.utils.words import in_words, shown

# Opening a file header costs about a millisecond: enough of them to find sizes that are wrong as a
# rule (as from a converter that ignores EXIF), few enough not to be noticed.
SIZES_COMPARED = 32

# Pixels a side that no image has.
_LONGEST_SIDE = 1_000_000

# Image id -> (width, height) in pixels, None where the json gives no usable size.
Sizes = dict[int | str, tuple[int, int] | None]


def check_images(
    images: object, image_root: str, report: DatasetReport, *, skip_corrupt: bool
) -> Sizes:
    """Adds what is wrong with the images to the report and returns their sizes.

    With ``skip_corrupt`` the loaders leave unreadable images out, so they are only worth a warning.
    """
    if not isinstance(images, list) or not images:
        report.errors.add("missing lists", "There is no list of 'images', or it is empty.")
        return {}
    report.num_images = len(images)
    sizes: Sizes = {}
    files: dict[str, tuple[int, int] | None] = {}
    for image in images:
        if not _has_id_and_file(image):
            report.errors.add(
                "malformed images",
                f"The image {shown(image)} needs an 'id' (an integer of 64 bits, or text) and a "
                "'file_name' that a file can have.",
            )
            continue
        if image["id"] in sizes:
            report.errors.add(
                "duplicate image ids",
                f"The image id {image['id']!r} is used more than once (again by "
                f"{image['file_name']}).",
            )
        sizes[image["id"]] = files[image["file_name"]] = _size(image, report.errors)
    if len({type(id_) for id_ in sizes}) > 1:
        report.errors.add("mixed ids", "Some image ids are integers and some are text.")
    root = os.path.realpath(image_root)  # one folder may be known by two names
    report.files = {os.path.normpath(os.path.join(root, name)) for name in files}
    _warn_of_shared_files(images, files, report)
    unusable = report.warnings if skip_corrupt else report.errors
    _check_files(files, image_root, report, unusable)
    return sizes


def _has_id_and_file(image: object) -> bool:
    return (
        isinstance(image, dict)
        and type(image.get("id")) in (int, str)
        and (isinstance(image["id"], str) or abs(image["id"]) <= LARGEST_ID)
        and names_a_file(image.get("file_name"))
    )


def _size(image: dict[str, Any], errors: Findings) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    if _is_side(width) and _is_side(height):
        return int(width), int(height)
    errors.add(
        "image sizes",
        f"{image['file_name']} (image id {image['id']!r}) has width {shown(width)} and height "
        f"{shown(height)}; whole numbers of pixels are needed, {_LONGEST_SIDE} at most.",
    )
    return None


def _is_side(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return 1 <= value <= _LONGEST_SIDE and value % 1 == 0


def _warn_of_shared_files(
    images: list[Any], files: dict[str, tuple[int, int] | None], report: DatasetReport
) -> None:
    uses = Counter(
        os.path.normpath(image["file_name"]) for image in images if _has_id_and_file(image)
    )
    shared = len(uses.keys() - {name for name, count in uses.items() if count == 1})
    if shared:
        name, count = uses.most_common(1)[0]
        report.warnings.add(
            "shared files", f"{shared} file(s) belong to several images ({name} to {count})."
        )


def _check_files(
    files: dict[str, tuple[int, int] | None],
    image_root: str,
    report: DatasetReport,
    unusable: Findings,
) -> None:
    if not os.path.isdir(image_root):
        fault = no_such("folder", image_root)
        report.errors.add("missing folders", f"The image folder {image_root} {fault}.")
        return
    _warn_of_files_elsewhere(files, image_root, report)
    listings = _listings(files, image_root)
    present = _present(list(files), image_root, listings)
    missing = [name for name in files if name not in present]
    instead = _instead(missing, listings)
    if files and not present:
        first = missing[0] + instead.get(missing[0], "")
        report.errors.add(
            "missing folders",
            f"None of the {len(files)} image files is in {image_root}: is it the right folder "
            f"(first file: {first})?",
        )
        return
    for name in missing:
        path = os.path.join(image_root, name)
        said = f"{path} {no_such('file', path)}{instead.get(name, '')}."
        unusable.add("missing image files", said)
    names = list(present)
    for name in names[:: max(1, len(names) // SIZES_COMPARED)][:SIZES_COMPARED]:
        _compare_size(os.path.join(image_root, name), files[name], unusable)


def _warn_of_files_elsewhere(files: Iterable[str], image_root: str, report: DatasetReport) -> None:
    """Names may lead out of the folder, which whoever shares the data set may not know."""
    root = os.path.abspath(image_root)
    outside = [name for name in files if not _is_below(name, root)]
    if outside:
        report.warnings.add(
            "files elsewhere",
            f"{len(outside)} file(s) lie outside of {image_root} by their names ({outside[0]}).",
        )


def _is_below(name: str, root: str) -> bool:
    """Whether a name, which may be a whole path, stays in a folder."""
    if os.path.isabs(name):
        return os.path.normpath(name).startswith(os.path.join(root, ""))
    return os.path.normpath(name).split(os.sep, 1)[0] != os.pardir


def _listings(names: Iterable[str], image_root: str) -> dict[str, set[str]]:
    """Folder below the root -> what it has; one listing instead of one system call a file."""
    listings = {}
    for folder in {os.path.dirname(name) for name in names}:
        path = os.path.join(image_root, folder)
        if os.path.isdir(path):
            with os.scandir(path) as entries:
                listings[folder] = {entry.name for entry in entries}
    return listings


def _present(names: list[str], image_root: str, listings: dict[str, set[str]]) -> dict[str, None]:
    """Those names that exist, in order."""

    def exists(name: str) -> bool:
        folder, base = os.path.split(name)
        if base in listings.get(folder, ()):
            return True
        # File systems that ignore case, and odd spellings of a path, are the system's to judge.
        return folder in listings and os.path.isfile(os.path.join(image_root, name))

    return dict.fromkeys(name for name in names if exists(name))


def _instead(missing: list[str], listings: dict[str, set[str]]) -> dict[str, str]:
    """Missing name -> what is said of the image that its folder has instead: of another ending, in
    other capitals, or in another form of Unicode, which looks the same and which Macs write."""
    pictures = (
        (folder, name)
        for folder, names in (listings.items() if missing else ())
        for name in sorted(names)
        if name.lower().endswith(IMAGE_ENDINGS)
    )
    alike = {(folder, _stem(name)): name for folder, name in pictures}
    found = {}
    for name in missing:
        folder, base = os.path.split(name)
        other = alike.get((folder, _stem(base)))
        if other is None:
            continue
        same = unicodedata.normalize("NFC", other) == unicodedata.normalize("NFC", base)
        found[name] = (
            f"; its folder has {other!a}, the same name in another form of Unicode"
            if same
            else f"; its folder has {other!r}"
        )
    return found


def _stem(name: str) -> str:
    return os.path.splitext(unicodedata.normalize("NFC", name).casefold())[0]


def _compare_size(path: str, size: tuple[int, int] | None, unusable: Findings) -> None:
    fault = decoding_fault(path)
    if fault is not None:
        unusable.add("unusable images", f"{path} {fault}.")
        return
    try:
        found = displayed_size(path)
    except Exception as error:  # Pillow raises nearly anything on broken files
        said = f"{path} cannot be read as an image: {in_words(error)}."
        unusable.add("unreadable images", said)
        return
    if size is not None and found != size:
        unusable.add(
            "image sizes",
            f"{path} is {found[0]}x{found[1]} pixels (EXIF rotation applied), but the json says "
            f"{size[0]}x{size[1]}.",
        )
