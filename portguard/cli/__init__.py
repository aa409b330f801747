"""The command line: one short file a command; the only place that prints or exits, and the only one with Typer."""
