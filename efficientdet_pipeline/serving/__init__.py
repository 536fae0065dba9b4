"""A detector behind HTTP: requests, dynamic batching, limits, metrics, a page to try it, and a cloud function."""
