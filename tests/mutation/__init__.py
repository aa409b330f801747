"""Mutation testing: one small mistake at a time in the code that must not have any, and the tests that must notice."""
