"""The report of a run: one self-contained page, pictures beside it, a comparison of runs and a live view."""
