"""Who has a port: found, named and ended. Decides nothing: `rules` does."""
