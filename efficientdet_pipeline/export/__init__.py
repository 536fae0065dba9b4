"""Export of a trained detector to files that run without this package; see `bundle.write_bundle`."""
