"""Dataset checks: issues in the data of a training, ranked by their effect on accuracy, with remedies."""
