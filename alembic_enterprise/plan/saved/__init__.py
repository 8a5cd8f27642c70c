"""Plans as files, and how they are applied."""
