"""The typed configuration: what can be set, and reading it."""
