"""Programs for the person who runs a daemon: benchmark, conversion, doctor, load test, monitor."""
