"""The page that shows one plan: its search, its futures and its trajectory."""
