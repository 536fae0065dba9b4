"""TODO visualize."""
