"""Command-line options and set-up that several commands share."""
