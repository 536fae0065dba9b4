"""Models: the network of a run or checkpoint, initial weights, and recipes."""
