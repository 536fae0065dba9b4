"""New files for old ones, all or none."""

import shutil
from pathlib import Path

from efficientdet_pipeline.errors import OptionsError


def check_replaceable(saved_model: Path) -> None:
    """Refuses to put a SavedModel where something else is.

    Raises:
      OptionsError: the path exists, and is neither an empty folder nor a SavedModel.
    """
    is_empty = saved_model.is_dir() and not any(saved_model.iterdir())
    if saved_model.exists() and not is_empty and not (saved_model / "saved_model.pb").is_file():
        raise OptionsError(
            f"{saved_model} must be free, or hold an earlier export, which is then replaced. It exists and is no "
            "SavedModel (there is no saved_model.pb in it). Move it away, or choose another --path_output."
        )


def move_in(new: Path, home: Path, *, put_away: Path) -> None:
    """Moves everything in `new` to `home`, and what stood there by that name to `put_away`.

    All three are on one disk, so each move is a rename. After a failure in
    between, `home` is as it was.
    """
    put_away.mkdir()
    moved: list[Path] = []
    try:
        for item in sorted(new.iterdir()):
            place = home / item.name
            if place.exists():
                place.rename(put_away / item.name)
            moved.append(place)
            item.rename(place)
    except BaseException:
        for place in moved:
            if place.is_dir():
                shutil.rmtree(place)
            place.unlink(missing_ok=True)
        for item in put_away.iterdir():
            item.rename(home / item.name)
        raise
