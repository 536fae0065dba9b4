"""Inspection of shards: statistics, sample images, charts, and an HTML page with all of them."""
