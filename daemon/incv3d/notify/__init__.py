"""Tell people what was seen: rules, messages that wait on the disk, and the services that deliver them."""
