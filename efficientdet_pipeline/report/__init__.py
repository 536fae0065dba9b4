"""Reports: the HTML report of a run, its figures, a comparison of runs, and a live view."""
