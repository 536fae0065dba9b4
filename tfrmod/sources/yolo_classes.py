"""Class lists of YOLO datasets: the list that applies to each label file, and one common label map."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from tfrmod.errors import DatasetError
from tfrmod.pairing import num_equal
from tfrmod.problems import Problem
from tfrmod.sources.files import Files
from tfrmod.sources.yolo_config import DatasetDescription, is_name_list, read_description

_EMPTY_DESCRIPTION = DatasetDescription({})
Folders = tuple[str, ...]


class ClassLists:
    """The lists of class names of a dataset: data.yaml, classes.txt and others.

    The nearest list in or above its folder applies to a label file, or else the
    nearest one elsewhere. Lists at the same distance must agree.
    """

    def __init__(self, folder: Path, files: Files) -> None:
        self.folder = folder
        self.lists: dict[str, DatasetDescription] = {}
        self.failed: dict[str, str] = {}
        """{file: why it cannot be read}."""
        for path in [*files.yaml, *filter(is_name_list, (*files.txt, *files.others))]:
            try:
                description = read_description(folder / path)
            except (DatasetError, OSError) as error:
                self.failed[path] = str(error)
            else:
                if description is not None:
                    self.lists[path] = description
        self._chosen: dict[Folders, str] = {}
        self._labelled: set[Folders] = set()

    def assign(self, labels: Iterable[str]) -> dict[str, str]:
        """Returns {label file: its list}; "" if there is no list at all.

        Raises:
          DatasetError: lists at the same distance disagree, or the nearest one
            cannot be read.
        """
        labels = list(labels)
        self._labelled = {place for label in labels for place in _upwards(_folders(label))}
        for label in labels:
            place = _folders(label)
            if place not in self._chosen:
                self._chosen[place] = self._nearest(place, label)
        return {label: self._chosen[_folders(label)] for label in labels}

    def keypoints(self, label: str) -> tuple[int, int] | None:
        """Returns the number of keypoints after each box of a label file, and the numbers per keypoint."""
        for place in _upwards(_folders(label)):
            for path in self._at(place):
                if self.lists[path].keypoints is not None:
                    return self.lists[path].keypoints
        chosen = self._chosen.get(_folders(label))
        return self.lists[chosen].keypoints if chosen else None

    def descriptions(self) -> list[str]:
        """Returns the YAML files that name sets and apply to label files, or all if there are no others."""
        yamls = [path for path, description in self.lists.items() if description.sets]
        near = [path for path in yamls if _folders(path) in self._labelled or path in self._chosen.values()]
        return near or yamls

    def problems(self) -> list[Problem]:
        """Returns the problems of the lists in use, and those that cannot be read."""
        found = [Problem("annotation_malformed", path, reason) for path, reason in self.failed.items()]
        for path in dict.fromkeys(self._chosen.values()):
            found += [Problem(code, path, message) for code, message in self.lists.get(path, _EMPTY_DESCRIPTION).notes]
        for place, path in self._chosen.items():
            for other in [other for above in _upwards(place) for other in self._at(above) if other != path]:
                if path and (difference := self._difference(path, other)):
                    message = f"{difference}; the label files in {'/'.join(place) or '.'} are read by {path}"
                    found.append(Problem("class_lists_differ", other, message))
        return list(dict.fromkeys(found))

    def label_map(self, problems: list[Problem]) -> dict[int, str]:
        """Returns the classes of all lists in use, merged by name: numbered from 1 in the order of the first list."""
        ids: dict[str, int] = {}
        for path in sorted(filter(None, set(self._chosen.values())), key=_depth):
            of_this: dict[str, int] = {}
            is_first, free = not ids, max(ids.values(), default=0) + 1
            for index, name in sorted(self.lists[path].names.items()):
                if of_this.setdefault(name, index) != index:
                    message = f"{name!r} is {of_this[name]} and {index}; took the first"
                    problems.append(Problem("label_ids_changed", path, message))
                elif is_first:
                    ids[name] = index + 1
                elif name not in ids:
                    ids[name], free = free, free + 1
            if any(ids[name] != index + 1 for name, index in of_this.items()):
                message = "its class indices differ from another list's; classes were merged by name"
                problems.append(Problem("label_ids_changed", path, message))
        return {class_id: name for name, class_id in sorted(ids.items(), key=lambda item: item[1])}

    def _nearest(self, place: Folders, label: str) -> str:
        inner = self._within(place, label)
        for above in _upwards(place):
            here = [path for path in self._at(above) if self.lists[path].names]
            failed = [path for path in self.failed if _folders(path) == above]
            if not here and failed:
                raise self._unreadable(failed[0], label)
            if here:
                chosen = self._agreed(here, label)
                for other in inner:
                    if num_equal(_folders(other), place) > len(above) and (found := self._difference(chosen, other)):
                        raise _disagreement(found, label)
                return chosen
        if inner:
            nearest = max(num_equal(_folders(path), place) for path in inner)
            return self._agreed([path for path in inner if num_equal(_folders(path), place) == nearest], label)
        if self.failed:
            raise self._unreadable(min(self.failed, key=_depth), label)
        return ""

    def _within(self, place: Folders, label: str) -> list[str]:
        """Returns the lists that are neither above a folder nor above any label file, and so may apply to it."""
        return [
            path
            for path, description in self.lists.items()
            if description.names and _folders(path) not in self._labelled
        ]

    def _at(self, place: Folders) -> list[str]:
        return [path for path in self.lists if _folders(path) == place]

    def _agreed(self, paths: Sequence[str], label: str) -> str:
        """Returns the longest of some lists that agree; labelImg's predefined classes count only if alone."""
        own = [path for path in paths if PurePosixPath(path).name.lower() != "predefined_classes.txt"] or list(paths)
        chosen = max(own, key=lambda path: len(self.lists[path].names))  # The first of equals is a YAML.
        for other in own:
            if difference := self._difference(chosen, other):
                raise _disagreement(difference, label)
        return chosen

    def _difference(self, one: str, other: str) -> str:
        """Returns a text about the first class index that two lists name differently; "" if there is none."""
        names, others = self.lists[one].names, self.lists[other].names
        for index in sorted(names.keys() & others.keys()):
            if names[index] != others[index]:
                return f"class {index} is {names[index]!r} in {one} and {others[index]!r} in {other}"
        return ""

    def _unreadable(self, path: str, label: str) -> DatasetError:
        return DatasetError(
            f"The list of class names {path}, by which {label} should be read, cannot be used: {self.failed[path]}. "
            "Correct the file, or remove it if the dataset has another one."
        )


def check_blanks(path: str, description: DatasetDescription, used: Mapping[int, str]) -> None:
    """Raises DatasetError unless the classes in use show that the blank lines of a list count as classes.

    Args:
      path: of the list.
      description: its content.
      used: {class index: a label file that uses it}.
    """
    blank = description.blanks[0]
    is_proven = max(used, default=0) >= len(description.names) or all(index < blank for index in used)
    wrong = next((index for index in sorted(used) if index not in description.names), None)
    if is_proven and wrong is None:
        return
    example = max(used) if wrong is None else wrong
    raise DatasetError(
        f"{path} has a blank line {blank + 1}, and it is unclear whether it counts as a class: the class {example} in "
        f"{used[example]} is {description.names.get(example, 'none')!r} if it does, and another one if not. Remove the "
        "blank lines if they do not count, or else write a name in them."
    )


def _disagreement(difference: str, label: str) -> DatasetError:
    return DatasetError(
        f"Two lists of class names disagree, and either may apply to {label}: {difference}. Remove the one that is "
        "wrong, or move each into the folder of the label files that it belongs to."
    )


def _folders(path: str) -> Folders:
    return PurePosixPath(path).parts[:-1]


def _upwards(place: Folders) -> list[Folders]:
    """Returns a folder and its parents, the nearest first."""
    return [place[:count] for count in range(len(place), -1, -1)]


def _depth(path: str) -> tuple[int, str]:
    return path.count("/"), path
