"""Messages, events and key files that server and client share."""
