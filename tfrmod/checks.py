"""What is wrong with photos and annotations: named, counted, listed."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from tfrmod.errors import DatasetError

# Faults: something the user gave did not reach the shards as given.
FAULTS = {
    "image_without_annotation": "a photo that no annotation speaks of; left out",
    "annotation_without_image": "an annotation whose photo is not there; left out",
    "annotation_malformed": "an annotation that cannot be read; its photo is left out",
    "annotation_twice": "a second annotation of a photo that has one; the second is left out",
    "image_ambiguous": "several photos fit one annotation; the first was taken",
    "image_undecodable": "a file that does not decode as a photo; left out",
    "image_too_large": "a photo of more pixels than --max_pixels allows; left out undecoded",
    "image_size_differs": "the annotation states another size than the photo has; the photo is believed",
    "exif_unclear": "an EXIF rotation, and the annotation's size does not tell on which side of it the boxes were "
    "drawn; taken as drawn on the upright picture",
    "object_unreadable": "an object without a name or a readable box; dropped",
    "box_outside": "a box that reaches outside its photo; clipped",
    "box_empty": "a box without area inside its photo; dropped",
    "class_not_in_label_map": "an object whose class the label map does not hold; dropped",
    "set_lists_unknown": "an ImageSets list names a photo that is not there or has no annotation",
    "image_in_two_sets": "a photo that ImageSets lists for training and for validation; kept for training only",
}
# Notes: put right without loss, or worth a look; --strict lets them pass.
NOTES = {
    "corners_swapped": "a box whose corners are in the wrong order; put right",
    "exif_turned": "boxes drawn on the stored, unrotated pixels; turned upright with the picture",
    "format_not_as_named": "a photo whose extension names another format than its content; the content is believed",
    "filename_differs": "an annotation whose filename tag names another file than the photo it lies beside",
    "encoding_guessed": "an annotation that is not in the encoding it states; read as Windows-1252",
    "class_spelling": "two class names that look like one misspelt",
    "set_not_listed": "an annotated photo that the chosen ImageSets lists do not name; left out",
}
CODES = FAULTS | NOTES


class Problem(NamedTuple):
    """One finding about one file."""

    code: str
    file: str
    message: str = ""


@dataclass(frozen=True)
class ProblemCount:
    """How often a problem was met, and the first files it was met in."""

    count: int
    files: tuple[str, ...]


class ProblemLog:
    """All findings of one run, in the order in which they were made.

    With `strict`, the first fault ends the run.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.problems: list[Problem] = []

    def add(self, problem: Problem) -> None:
        """Takes one finding down.

        Raises:
          DatasetError: with `strict`, when it is a fault.
        """
        if self.strict and problem.code in FAULTS:
            raise DatasetError(
                f"{problem.file}: {CODES[problem.code]}{_tail(problem.message)}. With --strict, any such fault ends "
                "the run; mend the file, or leave --strict out to have faults counted and listed instead."
            )
        self.problems.append(problem)

    def extend(self, problems: Iterable[Problem]) -> None:
        """Takes several findings down."""
        for problem in problems:
            self.add(problem)

    def summary(self, *, max_files: int = 10) -> dict[str, ProblemCount]:
        """Returns each code met, with its count and the first files named."""
        files: dict[str, dict[str, None]] = {}
        counts: dict[str, int] = {}
        for code, file, _ in self.problems:
            counts[code] = counts.get(code, 0) + 1
            named = files.setdefault(code, {})
            if len(named) < max_files:
                named.setdefault(file)
        return {code: ProblemCount(counts[code], tuple(files[code])) for code in CODES if code in counts}

    def as_jsonl(self) -> str:
        """Returns every finding, one JSON object a line."""
        return "".join(json.dumps(problem._asdict(), ensure_ascii=False) + "\n" for problem in self.problems)


def _tail(message: str) -> str:
    return f" ({message})" if message else ""
