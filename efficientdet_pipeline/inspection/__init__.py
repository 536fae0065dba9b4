"""Looking at shards: read to the end, counted, drawn, and laid out on one page."""
