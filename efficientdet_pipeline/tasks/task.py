"""Task interface between the trainer and the kinds of networks that it trains.

A `Task` is stateless. `Task.setup` returns a `TaskSetup`: the task with the
network and data of one run. To add a task, write both classes in a module and
a line in `tasks.TASKS`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf
from efficientdet.training_model import Objective
from efficientdet.types import TensorTree

from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.data.image_descriptions import AugmentedImage, BatchImage
from efficientdet_pipeline.evaluation.class_evaluation import ClassEvaluation
from efficientdet_pipeline.evaluation.evaluation_file import SavedEvaluation
from efficientdet_pipeline.evaluation.metrics import Metrics
from efficientdet_pipeline.models.pretrained import StartWeights
from efficientdet_pipeline.models.weights import TrainedWeights
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.training import TrainOptions


class NetworkDescription(Protocol):
    """Description of a network, without its weights."""

    @property
    def name(self) -> str:
        """Name of the model, such as efficientdet-d0."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the training canvas."""

    @property
    def label_map(self) -> Mapping[int, str]:
        """Class id → name."""

    def as_dict(self) -> dict[str, object]:
        """Returns the description as plain data, without the label map."""

    def write(self, path: Path) -> None:
        """Writes the description beside the weights."""


class TrainingInput(NamedTuple):
    """Batches of a training."""

    batches_from: Callable[[int], tf.data.Dataset]
    """Number of the first sample → (images, truth) batches, endless."""
    files: tuple[str, ...]
    """The training shards."""
    images_of: Callable[[int], list[BatchImage]] | None = None
    """Number of a step (1-based) → descriptions of its images, for a report."""
    first_images: Callable[[int], Sequence[AugmentedImage]] | None = None
    """Number of images → the first training images with their boxes, for drawing."""
    validation: Callable[[], tf.data.Dataset] | None = None
    """→ (images, truth) batches of the validation images, once, for the validation loss; None without such images."""


class TaskEvaluator(Protocol):
    """Evaluates a network with its current weights."""

    def __call__(self, epoch: int | None = None) -> Metrics:
        """Returns the metrics on the validation images, after a number of epochs."""

    def draw(self, count: int) -> list[np.ndarray]:
        """Returns the first `count` validation images with ground truth and prediction, uint8 RGB."""

    def saved(self, facts: Mapping[str, str | float]) -> SavedEvaluation | ClassEvaluation | None:
        """Returns the evaluation for the report: of boxes, or by classes; None where the task has no report.

        Args:
          facts: its "checkpoint", "epoch" and "data".
        """


@dataclass(frozen=True, kw_only=True)
class LogLayout:
    """Layout of the logs of a training."""

    losses: tuple[str, ...]
    """Columns of results.csv for the terms of the loss."""
    metrics: tuple[str, ...]
    """Columns of results.csv for the metrics of an evaluation."""
    primary: str
    """The metric for the best checkpoint, patience and curves."""
    panels: Mapping[str, tuple[str, ...]]
    """Panels of the training curves: {title: columns}."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Returns all columns of results.csv."""
        return (
            *("epoch", "step", "seconds", "learning_rate", "loss", *self.losses, "reg_l2_loss", *self.metrics),
            *("gradient_norm", "bad_steps_total", "photos_per_second", "data_wait"),
        )


class TaskSetup(Protocol):
    """A task with the network and data of one run."""

    @property
    def network(self) -> NetworkDescription:
        """The network to train."""

    @property
    def layout(self) -> LogLayout:
        """Layout of the logs of the run."""

    def with_options(self, options: TrainOptions) -> "TaskSetup":
        """Returns the same setup with other options, for example with an automatic batch size."""

    def build_model(self) -> keras.Model:
        """Returns the network with random weights, in the scope of the current strategy."""

    def load_pretrained(self, model: keras.Model, start: StartWeights) -> dict[str, object]:
        """Loads the initial weights; returns fields for metadata.json, "pretrained" among them."""

    def load_weights(self, model: keras.Model, path: Path) -> None:
        """Loads the weights of a checkpoint of this run."""

    def objective(self) -> Objective:
        """Returns the training objective."""

    def open_input(
        self, *, num_epochs: int, steps_per_epoch: int, cache: Path, host: tuple[int, int]
    ) -> AbstractContextManager[TrainingInput]:
        """Opens the training batches.

        Args:
          num_epochs: of the whole training.
          steps_per_epoch: likewise.
          cache: folder for files that are needed during training.
          host: (index, count) of the processes that share each batch.
        """

    def random_batch(self, batch_size: int) -> tuple[np.ndarray, TensorTree]:
        """Returns images and truth with the shapes of a training batch, to test the memory."""

    def prepare_evaluation(self, *, is_chief: bool) -> None:
        """Reads and checks the ground truth of the validation images before the training starts."""

    def evaluator(self, model: keras.Model) -> TaskEvaluator | None:
        """Returns the evaluator of a model, after `prepare_evaluation`; None if the run has no evaluation."""

    def format_table(self, metrics: Mapping[str, object]) -> str:
        """Returns the content of metrics.json as lines of text."""

    def format_line(self, metrics: Mapping[str, object]) -> str:
        """Returns the main metrics in one line."""

    def export(self, model: keras.Model, trained: TrainedWeights, folder: Path) -> Mapping[str, Path]:
        """Writes a model with the trained weights in the formats of the options; returns {format: path}."""


class Task(Protocol):
    """A kind of prediction, such as detection or segmentation."""

    @property
    def name(self) -> str:
        """Name of the task."""

    @property
    def has_recipe(self) -> bool:
        """Whether --recipe=auto supports the task."""

    def image_size(self, name: str, options: TrainOptions, hparams: HparamsGiven) -> tuple[int, int]:
        """Returns height and width of a model's canvas.

        Raises:
          OptionsError: the model is unknown, or options do not fit it.
        """

    def check_pretrained(self, options: TrainOptions, model_name: str) -> StartWeights:
        """Chooses, downloads and checks the initial weights, before any image is read."""

    def chosen_by_chief(self, options: TrainOptions, model_name: str, about: Mapping[str, object]) -> StartWeights:
        """Returns the weights that the chief of several processes chose and recorded in metadata.json."""

    def setup(self, name: str, options: TrainOptions, hparams: HparamsGiven, shards: Shards) -> TaskSetup:
        """Returns the setup of a run.

        Raises:
          OptionsError: options and data do not fit each other.
        """

    def setup_of_description(
        self, description: Mapping[str, object], options: TrainOptions, *, max_instances: int
    ) -> TaskSetup:
        """Returns a setup without data, from `NetworkDescription.as_dict`, for random batches."""


def panels(losses: Sequence[str], metrics: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Returns panels of training curves: the loss and each of its terms, then metrics, then the learning rate.

    The terms of a loss differ by orders of magnitude, so each has its own panel.
    """
    of_losses = {name.replace("box_iou", "overlap").replace("_", " "): (name,) for name in losses}
    return {"loss": ("loss",), **of_losses, **metrics, "learning rate": ("learning_rate",)}
