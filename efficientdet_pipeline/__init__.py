"""The street: one command from annotated photos to a production detector."""
