"""What is published: the files, what is said about them, and that they work where the source tree is not.

Everything here is built from this tree by its own build backend. Where there is no tree beside the tests, because they
are run against an installed portguard, there is nothing to build and nothing here is run.
"""
