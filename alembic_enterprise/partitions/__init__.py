"""Range partitions by time: declaration, catalog, operations and comparison."""
