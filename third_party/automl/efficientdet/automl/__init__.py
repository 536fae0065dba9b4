"""Compatibility with google/automl: its flat hparams, variable names and object paths."""
