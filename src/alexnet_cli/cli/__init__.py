"""The commands: each parses, calls into a room, and reports."""
