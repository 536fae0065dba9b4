"""The Task interface: what the trainer needs of what a network learns to predict.

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
from efficientdet_pipeline.evaluation.evaluation_file import SavedEvaluation
from efficientdet_pipeline.evaluation.metrics import Metrics
from efficientdet_pipeline.models.pretrained import StartWeights
from efficientdet_pipeline.models.weights import TrainedWeights
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.training import TrainOptions


class NetworkDescription(Protocol):
    """What a network is, without its weights."""

    @property
    def name(self) -> str:
        """Name of the model, such as efficientdet-d0."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the canvas that it is trained on."""

    @property
    def label_map(self) -> Mapping[int, str]:
        """Class id → name."""

    def as_dict(self) -> dict[str, object]:
        """Returns the description as plain data, without the label map."""

    def write(self, path: Path) -> None:
        """Writes the description beside the weights."""


class TrainingInput(NamedTuple):
    """The batches of a training."""

    batches_from: Callable[[int], tf.data.Dataset]
    """Number of the first sample → (images, truth) batches without end."""
    files: tuple[str, ...]
    """The training shards."""
    images_of: Callable[[int], list[BatchImage]] | None = None
    """Number of a step (1-based) → descriptions of its images, for a report."""
    first_images: Callable[[int], Sequence[AugmentedImage]] | None = None
    """Number of images → the first images of the training with their boxes, to be drawn."""
    validation: Callable[[], tf.data.Dataset] | None = None
    """→ (images, truth) batches of the validation images, once, for the loss on them; None where there are none."""


class TaskEvaluator(Protocol):
    """Measures the network as it is at the time of the call."""

    def __call__(self, epoch: int | None = None) -> Metrics:
        """Returns the metrics on the validation images, after a number of epochs."""

    def draw(self, count: int) -> list[np.ndarray]:
        """Returns the first `count` validation images with truth and prediction, uint8 RGB."""

    def saved(self, facts: Mapping[str, str | float]) -> SavedEvaluation | None:
        """Returns the evaluation for the report; None where the task has no such report.

        Args:
          facts: "checkpoint", "epoch" and "data" of it.
        """


@dataclass(frozen=True, kw_only=True)
class LogLayout:
    """How the numbers of a training are logged."""

    losses: tuple[str, ...]
    """Columns of results.csv for the terms of the loss."""
    metrics: tuple[str, ...]
    """Columns of results.csv for the numbers of an evaluation."""
    primary: str
    """The metric that best checkpoint, patience and curves follow."""
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
    """A task with the network and the data of one run."""

    @property
    def network(self) -> NetworkDescription:
        """The network to train."""

    @property
    def layout(self) -> LogLayout:
        """How the numbers of the run are logged."""

    def with_options(self, options: TrainOptions) -> "TaskSetup":
        """Returns the same setup with other options, such as those with a batch size that was searched for."""

    def build_model(self) -> keras.Model:
        """Returns the network with random weights, in the present strategy's scope."""

    def load_pretrained(self, model: keras.Model, start: StartWeights) -> dict[str, object]:
        """Loads the initial weights; returns fields for metadata.json, "pretrained" among them."""

    def load_weights(self, model: keras.Model, path: Path) -> None:
        """Loads the weights of a checkpoint of this run."""

    def objective(self) -> Objective:
        """Returns what is minimized."""

    def open_input(
        self, *, num_epochs: int, steps_per_epoch: int, cache: Path, host: tuple[int, int]
    ) -> AbstractContextManager[TrainingInput]:
        """Opens the training batches.

        Args:
          num_epochs: of the whole training.
          steps_per_epoch: likewise.
          cache: folder for what is kept on disk meanwhile.
          host: (index, count) of the processes that share each batch.
        """

    def random_batch(self, batch_size: int) -> tuple[np.ndarray, TensorTree]:
        """Returns images and truth of the shapes of a training batch, for a trial of the memory."""

    def prepare_evaluation(self, *, is_chief: bool) -> None:
        """Reads the truth of the validation images, and checks it, before the training begins."""

    def evaluator(self, model: keras.Model) -> TaskEvaluator | None:
        """Returns what evaluates a model after `prepare_evaluation`; None where the run has no evaluation."""

    def format_table(self, metrics: Mapping[str, object]) -> str:
        """Returns the content of metrics.json as lines of text."""

    def format_line(self, metrics: Mapping[str, object]) -> str:
        """Returns the numbers that runs are compared by, in one line."""

    def export(self, model: keras.Model, trained: TrainedWeights, folder: Path) -> Mapping[str, Path]:
        """Writes a model that holds the trained weights in the formats of the options; returns {format: path}."""


class Task(Protocol):
    """What a network learns to predict."""

    @property
    def name(self) -> str:
        """Name of the task."""

    @property
    def has_recipe(self) -> bool:
        """Whether --recipe=auto knows options for it."""

    def image_size(self, name: str, options: TrainOptions, hparams: HparamsGiven) -> tuple[int, int]:
        """Returns height and width of a model's canvas.

        Raises:
          OptionsError: no such model, or options that do not fit it.
        """

    def check_pretrained(self, options: TrainOptions, model_name: str) -> StartWeights:
        """Chooses, fetches and checks the initial weights, before any image is read."""

    def chosen_by_chief(self, options: TrainOptions, model_name: str, about: Mapping[str, object]) -> StartWeights:
        """Returns the weights that the chief of several processes chose and recorded in metadata.json."""

    def setup(self, name: str, options: TrainOptions, hparams: HparamsGiven, shards: Shards) -> TaskSetup:
        """Returns the setup of a run.

        Raises:
          OptionsError: options and data that do not fit each other.
        """

    def setup_of_description(
        self, description: Mapping[str, object], options: TrainOptions, *, max_instances: int
    ) -> TaskSetup:
        """Returns a setup without data, from `NetworkDescription.as_dict`: for trials on random batches."""


def panels(losses: Sequence[str], metrics: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Returns panels of training curves: the loss and each of its terms, then metrics, then the learning rate.

    The terms of a loss differ by orders of magnitude, hence a panel each.
    """
    of_losses = {name.replace("box_iou", "overlap").replace("_", " "): (name,) for name in losses}
    return {"loss": ("loss",), **of_losses, **metrics, "learning rate": ("learning_rate",)}
