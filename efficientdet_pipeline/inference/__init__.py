"""From images to drawn, listed detections, by a checkpoint, a SavedModel or a frozen graph."""
