"""Videos, decoded by any of three back ends, and written."""
