"""Necks: feature pyramid networks between backbone and heads."""
