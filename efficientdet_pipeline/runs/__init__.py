"""Run folders: name, files, lock, metadata, and the check that a run may be resumed."""
