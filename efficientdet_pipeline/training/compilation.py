"""What a process compiled, and what it read from the compilation cache instead."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Compilation:
    """Compilation of the train step and other programs since the start of the process."""

    verb: str
    """What the backend does before the first step: compile it, or build its graph."""
    seconds: float = 0.0
    """Time spent compiling, and reading compiled programs."""
    saved_seconds: float = 0.0
    """Time that the compilation cache saved."""
    cache: str = ""
    """Folder where compiled programs are kept; empty: they are not kept."""

    def first_step_text(self, took: float, before: "Compilation") -> str:
        """Returns the line that reports the first step.

        Args:
          took: seconds until its end.
          before: state at its beginning.
        """
        saved, seconds = self.saved_seconds - before.saved_seconds, self.seconds - before.seconds
        text = f"First step after {took:.0f} s"
        if saved >= 1:
            return f"{text}; the compilation cache saved about {saved:.0f} s."
        if seconds < 1:
            return f"{text}."
        kept = f"; the next start reads the result from {self.cache}" if self.cache else ""
        return f"{text}, {seconds:.0f} s of them compiling{kept}."
