"""Files that are written atomically, locked, checksummed and validated."""
