"""Tests of portguard."""
