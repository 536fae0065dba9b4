"""Benchmarks: loader, training step and full training; latency of detectors; accuracy and latency of exports."""
