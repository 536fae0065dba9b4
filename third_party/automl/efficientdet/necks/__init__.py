"""Necks: they mix the backbone's feature maps into the pyramid that the heads read."""
