"""The doctor: what is wrong with the data of a training, ranked by harm, and how it is mended."""
