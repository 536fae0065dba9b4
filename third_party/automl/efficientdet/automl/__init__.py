"""TODO automl."""
