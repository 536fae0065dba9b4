"""Python API, continued: a search for options, and a detector behind HTTP.

>>> study = edp.tune("images.zip", "space.yaml", num_epochs=30, num_trials=20)
>>> with edp.serve("runs/first/export", port=0) as server:
...     print(server.url)
...     server.wait()
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from efficientdet_pipeline.api import is_export, path_of, prepared, with_given
from efficientdet_pipeline.options.keywords import OptionValue
from efficientdet_pipeline.options.serve import ServeOptions
from efficientdet_pipeline.options.tune import TuneOptions

if TYPE_CHECKING:
    from efficientdet_pipeline.api import RunResult
    from efficientdet_pipeline.serving.server import DetectionServer
    from efficientdet_pipeline.tuning.study import StudyResult


def tune(
    dataset: str | os.PathLike[str] | None, space: str | os.PathLike[str], /, **options: OptionValue
) -> "StudyResult":
    """Searches the options of the highest AP, and returns the trials; continues a study that exists.

    Args:
      dataset: annotated images (`url_dataset`); None if `train_file_pattern` names shards.
      space: YAML file with the options to search.
      **options: options of --mode=tune, such as `num_trials`, `study_dir`, `num_epochs`, `model_name`.

    Returns:
      `trials` with `number`, `state`, `value` and `values`; `best`, and `arguments(best)` for the command line.

    Raises:
      MissingExtraError: Optuna is not installed.
      OptionsError: the space is wrong, or every trial fails.
      StoppedError: a signal stopped a trial; the same call continues.
    """
    given = with_given(options, url_dataset=dataset, space=space)
    with prepared(TuneOptions, "tune", given) as (settings, read, _):
        from efficientdet_pipeline.commands.tune import tune as tune_options

        return tune_options(settings, read)


def serve(model: "RunResult | str | os.PathLike[str]", /, **options: OptionValue) -> "DetectionServer":
    """Returns a server of a detector, which answers within its context; `url` is its address.

    Args:
      model: a run, its folder, a checkpoint, or an export.
      **options: options of --mode=serve, such as `port` (0: a free one), `host`, `min_score_thresh`.

    Raises:
      MissingExtraError: a package of the server is not installed.
      OptionsError: the address cannot be opened, or the model does not detect.
    """
    path = path_of(model)
    name = "saved_model_dir" if is_export(Path(path).expanduser()) else "path_ckpt"
    with prepared(ServeOptions, "serve", with_given(options, **{name: path})) as (settings, _, hparams):
        from efficientdet_pipeline.serving.loading import load_service
        from efficientdet_pipeline.serving.server import DetectionServer, check_installed

        check_installed()
        return DetectionServer(load_service(settings, hparams), settings.server)
