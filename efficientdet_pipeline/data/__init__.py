"""Shards → photos and boxes → padded batches. What is done to a photo in between is handed in."""
