"""The daemon process: lifecycle, main loop, reload, dispatch, health, systemd."""
