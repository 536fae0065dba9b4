"""EfficientDet pipeline: annotated images to a trained, evaluated and exported detector."""
