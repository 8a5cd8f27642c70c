"""Shards by hash: declaration, placement, catalog, operations and comparison."""
