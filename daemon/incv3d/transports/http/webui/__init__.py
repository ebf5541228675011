"""The page: what the camera sees, what the model says of it and how fast, in a browser, as it happens."""
