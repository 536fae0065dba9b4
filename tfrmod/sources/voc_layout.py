"""Pascal VOC layout: matching of XML files and images, ImageSets lists, and mask images."""

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject, Box
from tfrmod.errors import DatasetError
from tfrmod.masks import png_array
from tfrmod.pairing import Names, folded, nearness, num_trailing, spellings
from tfrmod.problems import Problem
from tfrmod.sources.masks import mask_objects
from tfrmod.sources.voc_xml import Stated
from tfrmod.text import read_text

_IMAGE_FOLDER = "jpegimages"


class _Evidence(NamedTuple):
    """Agreement of an image with an annotation; the first number that differs decides."""

    folders: int
    """Number of trailing folders that agree with the filename or path tag."""
    is_in_folder: bool
    """Whether the image is below a folder with the name in the folder tag."""
    trailing: int
    """Number of trailing folders shared by image and annotation."""
    near: int
    is_in_image_folder: bool
    """Whether the image is in JPEGImages, Pascal VOC's folder of images."""


class _Choice(NamedTuple):
    """The image that one annotation matches."""

    annotation: str
    image: str
    is_alike: bool
    """Whether the annotation has its name."""
    is_named: bool
    """Whether the filename tag names it."""
    rule: int
    evidence: _Evidence

    @property
    def rank(self) -> tuple[bool, bool, int, _Evidence]:
        """Returns a sort key for annotations of one image, the best last."""
        return self.is_alike, self.is_named, -self.rule, self.evidence


def pair(
    images: Sequence[str],
    annotations: Sequence[str],
    others: Sequence[str],
    stated: Callable[[str], Stated],
    is_copy: Callable[[str, str], bool] = lambda one, other: False,
) -> tuple[dict[str, str], list[Problem]]:
    """Returns {image: its annotation}, and everything without a partner.

    An annotation matches an image with its name and the name in its filename
    tag. If the tag names no image it is outdated (the images were renamed), and
    the annotation's own name counts. If name and tag match different images, if
    several images match equally well, or several annotations match one image,
    the match is ambiguous: all of them are left out and reported.

    Args:
      images: files with an image's extension.
      annotations: XML files.
      others: files that are images only if an annotation names them.
      stated: returns the image that an annotation states.
      is_copy: returns whether two annotations are equal.
    """
    problems: list[Problem] = []
    choices = []
    name_indices = [names for names in (Names(images), Names(others)) if names.paths]
    for annotation in annotations:
        tag = stated(annotation)
        choice = next((found for names in name_indices if (found := _choice(annotation, tag, names)) is not None), None)
        if isinstance(choice, _Choice):
            choices.append(choice)
        else:
            problems.append(choice or Problem("annotation_without_image", annotation))
    name_indices.clear()  # Frees memory: there may be a million names.
    choices, strays = _in_own_folder(choices, images)
    problems += [Problem("annotation_without_image", choice.annotation) for choice in strays]
    pairs: dict[str, str] = {}
    by_image: dict[str, list[_Choice]] = defaultdict(list)
    for choice in choices:
        by_image[choice.image].append(choice)
    for image, rivals in by_image.items():
        problems += _settle(image, rivals, pairs, is_copy)
    problems.sort(key=lambda problem: problem.file)
    problems.extend(Problem("image_without_annotation", image) for image in images if image not in pairs)
    return pairs, problems


def _choice(annotation: str, tag: Stated, names: Names) -> _Choice | Problem | None:
    """Returns the image of an annotation, a problem if it is ambiguous, None if there is none."""
    file = spellings(tag.filename or tag.path)[0]
    named, named_rule = names.matches(PurePosixPath(file).name)
    alike, rule = names.matches(PurePosixPath(annotation).stem)
    both = sorted(set(named).intersection(alike))
    if named and alike and not both:
        message = f"its name fits {', '.join(alike)}, its filename tag {', '.join(named)}"
        return Problem("image_ambiguous", annotation, message)
    candidates = both or named or alike
    evidence = {path: _evidence(path, annotation, tag) for path in candidates}
    best = [path for path in candidates if evidence[path] == max(evidence.values())]
    if len(best) > 1:
        return Problem("image_ambiguous", annotation, f"it fits {', '.join(best)} equally well")
    if not best or names.contradicts(best[0], [str(PurePosixPath(tag.folder.replace("\\", "/")) / file), file]):
        return None
    return _Choice(
        annotation, best[0], best[0] in alike, best[0] in named, rule if alike else named_rule, evidence[best[0]]
    )


def _evidence(image: str, annotation: str, tag: Stated) -> _Evidence:
    folders = PurePosixPath(image).parts[:-1]
    folder, *stated = (
        PurePosixPath(spellings(text)[0])
        for text in (tag.folder, tag.filename, tag.path, f"{tag.folder}/{tag.filename}")
    )
    return _Evidence(
        folders=max(num_trailing(path.parts[:-1], folders) for path in stated),
        is_in_folder=bool(folder.name) and folded(folder.name) in map(folded, folders),
        trailing=num_trailing(PurePosixPath(annotation).parts[:-1], folders),
        near=nearness(annotation, image),
        is_in_image_folder=_IMAGE_FOLDER in map(folded, folders[-1:]),
    )


def _in_own_folder(choices: list[_Choice], images: Sequence[str]) -> tuple[list[_Choice], list[_Choice]]:
    """Returns the choices, and those that matched an image of another folder because their own is missing.

    If file names occur in several folders (every camera has a 000001), an
    annotation that states no folder does not match an image in a folder that
    belongs to the annotations of another one.
    """
    stems = [PurePosixPath(image).stem for image in images]
    if len(set(stems)) == len(stems):
        return choices, []
    homes: dict[PurePosixPath, Counter[PurePosixPath]] = defaultdict(Counter)
    owners: dict[PurePosixPath, Counter[PurePosixPath]] = defaultdict(Counter)
    for choice in choices:
        folder, source = PurePosixPath(choice.image).parent, PurePosixPath(choice.annotation).parent
        homes[source][folder] += 1
        owners[folder][source] += 1
    kept: list[_Choice] = []
    strays: list[_Choice] = []
    for choice in choices:
        folder, source = PurePosixPath(choice.image).parent, PurePosixPath(choice.annotation).parent
        is_foreign = homes[source].most_common(1)[0][0] != folder and owners[folder].most_common(1)[0][0] != source
        is_stated = choice.evidence.folders or choice.evidence.is_in_folder
        (strays if is_foreign and not is_stated else kept).append(choice)
    return kept, strays


def _settle(
    image: str, rivals: Sequence[_Choice], pairs: dict[str, str], is_copy: Callable[[str, str], bool]
) -> list[Problem]:
    """Assigns an image the best of its annotations; returns the problems of the others."""
    best = max(choice.rank for choice in rivals)
    first, *equals = (choice.annotation for choice in rivals if choice.rank == best)
    if not all(is_copy(first, other) for other in equals):
        message = f"{image} has {len(equals) + 1} annotations that match equally well"
        return [Problem("annotations_disagree", choice.annotation, message) for choice in rivals]
    pairs[image] = first
    problems = []
    for choice in rivals:
        if choice.annotation != first:
            is_near = nearness(choice.annotation, image) > 0
            code = "annotation_twice" if is_near else "annotation_without_image"
            problems.append(Problem(code, choice.annotation, f"{image} has {first}"))
    return problems


def names_in_list(path: Path, known: Container[str] = ()) -> list[str]:
    """Returns the image names in one list, in its order; for names in `known`, those that end like a column.

    Raises:
      DatasetError: it is not text.
    """
    try:
        lines = read_text(path).text.splitlines()
    except DatasetError as error:
        raise DatasetError(f"{path} cannot be read: {error}.") from error
    return [name for line in lines if (name := _named(line, known))]


def _named(line: str, known: Container[str]) -> str:
    """Returns the image's name without folders; a name may have spaces, a second column is -1, 0 or 1."""
    whole = _without_folders(line)
    name, _, last = whole.rpartition(" ")
    has_column = name and last in ("-1", "0", "1") and whole not in known
    return name.strip() if has_column else whole


def _without_folders(line: str) -> str:
    return PurePosixPath(line.strip().replace("\\", "/")).name


_FOLDER = "segmentationobject"
_SAME = 0.5  # IoU of boxes that were drawn around the same objects by hand.


def mask_images_of(pairs: Mapping[str, str], pictures: Iterable[str]) -> tuple[dict[str, str], list[Problem]]:
    """Returns {image: its object mask}, and problems of masks that match several images equally well.

    If several years have an image of one name, the nearest is used.

    Args:
      pairs: {image: XML}.
      pictures: files in VOC's folders of masks.
    """
    names = Names(path for path in pictures if PurePosixPath(path).parent.name.lower() == _FOLDER)
    chosen: dict[str, str] = {}
    problems = []
    for image in pairs if names.paths else ():
        found = names.find(PurePosixPath(image).stem, near=image)
        if len(found) == 1:
            chosen[image] = found[0]
        elif found:
            problems.append(Problem("mask_unreadable", image, f"{', '.join(found)} fit equally well"))
    return chosen, problems


def with_masks(image: AnnotatedImage, folder: Path, picture: str) -> tuple[AnnotatedImage, list[Problem]]:
    """Returns the image with the masks of its objects from a mask image, matched by box.

    Class names remain the annotation's: a class mask has the ids of the VOC
    challenge, which are not those of these shards.
    """
    try:
        shown = mask_objects(png_array((folder / picture).read_bytes()), None, {1: ""}, masks=True)
    except (DatasetError, OSError) as error:
        return image, [Problem("mask_unreadable", picture, str(error))]
    return replace(image, objects=tuple(_masked(obj, shown) for obj in image.objects)), []


def _masked(obj: AnnotatedObject, shown: Sequence[AnnotatedObject]) -> AnnotatedObject:
    best = max(shown, key=lambda other: _overlap(obj.box, other.box), default=None)
    if best is None or _overlap(obj.box, best.box) < _SAME:
        return obj
    return obj._replace(mask=best.mask, mask_area=best.mask_area)


def _overlap(one: Box, other: Box) -> float:
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, height) * max(0.0, width)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared) if areas > shared else 0.0
