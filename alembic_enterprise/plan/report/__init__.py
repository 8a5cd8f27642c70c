"""The forms of a plan, each a pure function of it; the one for a terminal is in `cli`."""
