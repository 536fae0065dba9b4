"""Shards → images and boxes → padded batches. What is done to an image in between is handed in."""
