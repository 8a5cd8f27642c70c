"""What statements lock, rewrite and read: a table that was measured."""
