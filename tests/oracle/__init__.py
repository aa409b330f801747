"""The oracle: random worlds of sockets, and each verdict of `check` beside what a real server then meets."""
