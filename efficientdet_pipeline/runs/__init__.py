"""A run's folder: what it is called, what lies in it, and whether it may be continued."""
