"""Images of shards with their ground truth in the classes of a detector."""

from collections.abc import Callable

import numpy as np

from efficientdet_pipeline.evaluation.ground_truth import GroundTruth
from efficientdet_pipeline.evaluation.shard_samples import validation_samples


def test_validation_samples_are_in_pixels_and_in_the_detectors_classes(
    write_shards: Callable, image: Callable, box_of: Callable
) -> None:
    files = write_shards([image(1, [box_of(1)]), image(2)], [image(3, [box_of(2, is_crowd=True)])])
    samples = validation_samples(GroundTruth(files=files, class_ids={2: 7}))
    assert [truth.source_id for truth, _ in samples] == ["1", "2", "3"]
    assert [truth.class_ids.tolist() for truth, _ in samples] == [[1], [], [7]]
    np.testing.assert_allclose(samples[0][0].boxes, [[6, 8, 18, 24]], atol=1e-4)
    assert samples[2][0].is_crowd.tolist() == [True]
    assert samples[0][0].size == (24, 32)
    assert [int(read()[0, 0, 0]) for _, read in samples] == [1, 2, 3]
    assert len(validation_samples(GroundTruth(files=files), 2)) == 2
