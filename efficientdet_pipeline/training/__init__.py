"""One run: the step, its optimizer and average, and how it is kept, stopped and continued."""
