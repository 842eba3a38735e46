"""The page that shows an open-loop evaluation."""
