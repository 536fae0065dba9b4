"""Metrics in the text format of Prometheus."""

import re

from efficientdet_pipeline.serving.server_metrics import ServerMetrics


def test_server_metrics_count_what_happened() -> None:
    metrics = ServerMetrics()
    for status, seconds in ((200, 0.004), (200, 0.3), (422, 99.0)):
        metrics.begin_request()
        metrics.end_request(status, seconds)
    metrics.begin_request()
    metrics.count_batch(3, 0.2)
    metrics.count_detections(7)
    lines = metrics.text().splitlines()
    for line in (
        'efficientdet_requests_total{status="200"} 2',
        'efficientdet_requests_total{status="422"} 1',
        "efficientdet_requests_in_progress 1",
        "efficientdet_images_total 3",
        "efficientdet_detections_total 7",
        'efficientdet_request_seconds_bucket{le="0.005"} 1',
        'efficientdet_request_seconds_bucket{le="0.5"} 2',
        'efficientdet_request_seconds_bucket{le="+Inf"} 3',
        "efficientdet_request_seconds_sum 99.304000",
        "efficientdet_request_seconds_count 3",
        'efficientdet_batch_size_bucket{le="2"} 0',
        'efficientdet_batch_size_bucket{le="4"} 1',
    ):
        assert line in lines
    assert all(re.fullmatch(r"#.*|[a-z_]+(\{[a-z]+=\"[^\"]+\"\})? [\d.]+", line) for line in lines)
    assert int(lines[-1].split()[1]) > 1 << 20
