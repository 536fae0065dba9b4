"""Buckets of Google Cloud Storage and S3: inputs are fetched into a cache, runs and outputs are mirrored."""
