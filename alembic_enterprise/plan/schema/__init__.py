"""All objects of a database as text, and how two schemas differ."""
