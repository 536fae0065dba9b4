"""The images that an annotation file names, found among the files; what is missing or in doubt is reported."""

from collections.abc import Iterable

from tfrmod.problems import Problem
from tfrmod.sources.pairing import Names

_MOST_NAMED = 3


def images_of(
    stated: Iterable[str], names: Names, *, annotation: str, hint: str, problems: list[Problem]
) -> dict[str, str]:
    """Returns {name in the annotation: image}, without names that fit no image, or several equally well.

    Args:
      stated: the names that one annotation file uses.
      names: the files.
      annotation: the path of that file.
      hint: part of the name of the folder that its images probably lie in, such as train.
      problems: gets one entry for each name that is left out.
    """
    images = {}
    for name, found in names.find_all(stated, near=annotation, hint=hint).items():
        if len(found) == 1:
            images[name] = found[0]
        elif found:
            fitting = ", ".join(found[:_MOST_NAMED]) + (" …" if len(found) > _MOST_NAMED else "")
            problems.append(Problem("image_ambiguous", annotation, f"{name} fits {fitting}"))
        else:
            problems.append(Problem("annotation_without_image", name or "(no name)", f"named in {annotation}"))
    return images
