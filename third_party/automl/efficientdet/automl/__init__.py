"""What exists for google/automl's sake alone: its flat hparams, variable names and object paths."""
