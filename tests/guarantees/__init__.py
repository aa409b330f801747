"""The page of promises put to the test: each promise is broken on purpose, and a test that the page names must fail."""
