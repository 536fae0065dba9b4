"""Measuring a training: the loader alone, the step alone, both together, and what that says."""
