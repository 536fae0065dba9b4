"""What a user decides about a run: one frozen dataclass a mode, each field an option."""
