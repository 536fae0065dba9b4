"""Search for the hyper-parameters of the best AP: a study of trials, each a training of its own."""
