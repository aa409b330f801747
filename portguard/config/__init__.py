"""`portguard.toml` (or `[tool.portguard]`) to declarations. Nothing in a config is ever executed or expanded."""
