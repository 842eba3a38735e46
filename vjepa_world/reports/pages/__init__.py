"""HTML pages with everything in them, which open offline."""
