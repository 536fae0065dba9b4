"""Drawing of boxes, annotated figures and contact sheets."""
