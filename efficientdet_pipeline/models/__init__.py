"""The network of a run or a checkpoint, and the weights that it starts from."""
