"""What autogenerate would write, and the proof that it does what it should."""
