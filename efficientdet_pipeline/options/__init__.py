"""Options of all modes: frozen dataclasses, one per mode, whose fields are the flags."""
