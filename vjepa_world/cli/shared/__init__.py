"""Command-line options and set-up that several verbs share."""
