"""A trained detector as files that run without this package; `bundle.write_bundle` writes them."""
