"""Training of a run: model, train step, optimizer, callbacks, checkpoints, and its end."""
