"""Model compression: pruning, quantization-aware training and weight clustering of Keras 3 models.

The algorithms are those of tensorflow-model-optimization, whose own layer
wrappers need Keras 2; here they work on the variables of any model.
"""
