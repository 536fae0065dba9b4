"""Options of compression: their formats, and rejected values."""

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.compression import (
    ClusterSpec,
    CompressionOptions,
    PruneSpec,
    QuantizeSpec,
    optimizations_as_options,
)
from efficientdet_pipeline.options.hparams import read_hparams
from efficientdet_pipeline.options.training import TrainOptions

SCHEDULE = (
    '{"pruning_schedule": {"class_name": "PolynomialDecay", "config": {"initial_sparsity": 0.1, "final_sparsity": 0.8, '
    '"begin_step": 5, "end_step": 50, "power": 3, "frequency": 10}}, "block_size": [1, 4]}'
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("false", None),
        ("true", PruneSpec()),
        ("0.7", PruneSpec(sparsity=0.7)),
        ("2:4", PruneSpec(sparsity_m_by_n=(2, 4))),
        ("target_sparsity=0.3,schedule=constant,begin_step=7,block_size=1x4,pattern=neck/",
         PruneSpec(sparsity=0.3, schedule="constant", begin_step=7, block_size=(1, 4), pattern="neck/")),
        (SCHEDULE, PruneSpec(initial_sparsity=0.1, sparsity=0.8, begin_step=5, end_step=50, power=3, frequency=10,
                             block_size=(1, 4))),
    ],
)  # fmt: skip
def test_prune_spec_reads_every_notation(text: str, expected: PruneSpec | None) -> None:
    assert CompressionOptions(prune=text).prune_spec() == expected


def test_quantize_and_cluster_spec_read_every_notation() -> None:
    assert CompressionOptions(quantize="observe_epochs=2,preserve_sparsity=false").quantize_spec() == QuantizeSpec(
        observe_epochs=2.0, preserve_sparsity=False
    )
    assert CompressionOptions(cluster="32").cluster_spec() == ClusterSpec(number_of_clusters=32)
    assert CompressionOptions(cluster="true").cluster_spec() == ClusterSpec()
    assert CompressionOptions().asked_for == {}
    assert CompressionOptions(prune="0.5", quantize="true").asked_for == {"prune": "0.5", "quantize": "true"}
    assert CompressionOptions.implied({"quantize": "true"}) == {"quantize": {"precision": "float32"}}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prune": "1.5"}, r"sparsity must be at least 0 and below 1\. Received 1\.5 \(--prune\)"),
        (
            {"prune": "sparcity=0.5"},
            "prune must have the keys sparsity, schedule, .* Received 'sparcity'; did you mean sparsity?",
        ),
        ({"prune": '{"pruning_scedule": {}}'}, "did you mean pruning_schedule?"),
        ({"prune": '{"target_sparcity": 0.5}'}, "did you mean target_sparsity?"),
        ({"cluster": "clusters=16"}, "did you mean number_of_clusters?"),
        ({"quantize": "bits=4"}, "Received 'bits'; docs/compression.md describes them"),
        ({"prune": "half"}, "prune must be pairs such as key=value"),
        ({"prune": "block_size=4"}, r"block_size must be two whole numbers such as 2:4\. Received '4'"),
        ({"prune": "4:2"}, "two numbers m:n with m below n"),
        ({"prune": "pattern=("}, "pattern must be a regular expression"),
        ({"prune": "{"}, "prune must be JSON"),
        ({"prune": "end_step=3,begin_step=3"}, "end_step must be above begin_step=3"),
        ({"prune": "frequency=often"}, "frequency must be int"),
        ({"cluster": "2"}, r"number_of_clusters must be 3 to 4096\. Received 2 \(--cluster\)"),
        ({"cluster": "cluster_centroids_init=BEST"}, "cluster_centroids_init must be KMEANS_PLUS_PLUS, LINEAR"),
        ({"quantize": "observe_epochs=0"}, "observe_epochs must be above 0"),
        ({"prune": "0.5", "cluster": "16"}, "prune first, then start a second training with --cluster"),
        ({"quantize": "true", "cluster": "16"}, "cannot be combined in one training"),
    ],
)
def test_compression_options_refuse(given: dict[str, str], said: str) -> None:
    with pytest.raises(OptionsError, match=said):
        CompressionOptions(**given)


def test_model_optimizations_of_hparams_become_options() -> None:
    given = read_hparams("model_optimizations={'prune': {'sparsity': 0.7}, 'quantize': {}}", "a test", TrainOptions)
    options = CompressionOptions(**{name: str(each.value) for name, each in given.options.items()})
    assert options.prune_spec() == PruneSpec(sparsity=0.7)
    assert options.quantize_spec() == QuantizeSpec()
    with pytest.raises(
        OptionsError, match=r"must be of prune, quantize, cluster\. Received 'quantise'; did you mean quantize\?"
    ):
        optimizations_as_options({"quantise": {}})
    with pytest.raises(OptionsError, match="must map prune, quantize, cluster to their keys"):
        optimizations_as_options({"prune": 0.5})
