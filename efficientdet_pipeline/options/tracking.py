"""Options of validation loss and experiment trackers."""

from dataclasses import dataclass

from efficientdet_pipeline.options.schema import Options, option


@dataclass(frozen=True, kw_only=True)
class TrackingOptions(Options):
    """Validation loss and experiment trackers."""

    val_loss: bool = option(
        False,
        "Also compute the loss on the validation images at each evaluation: written to columns val_… of results.csv, "
        "to TensorBoard "
        "and to the report.",
    )
    tensorboard_dir: str = option(
        "",
        "Folder for TensorBoard's files. Default: AIP_TENSORBOARD_LOG_DIR on Vertex AI, otherwise tensorboard in the "
        "run's folder.",
        path="path",
    )
    mlflow: str = option(
        "",
        "Log options and metrics to MLflow: a folder or the URL of a tracking server. Needs the extra `mlflow`.",
        path="path",
    )
    wandb: str = option(
        "",
        "Log options and metrics to Weights & Biases: name of the project. Needs the extra `wandb`.",
    )
    wandb_online: bool = option(
        False,
        "Send the logs of wandb over the network. Default: store them in the run's folder wandb, for `wandb sync`.",
    )

    def without_effect(self) -> dict[str, str]:
        """Returns wandb_online if wandb is not given."""
        return {} if self.wandb else {"wandb_online": "wandb is not given"}
