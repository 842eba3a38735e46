"""One module or package for each trajectory format."""
