"""Decisions as pure functions: no I/O, no clock, no operating system. Facts come in as arguments."""
