"""How fast portguard is beside the tools people use instead: `python -m benchmarks` (Linux).

`worlds` are the machines it is tried on, `contenders` the commands, `targets` what is promised. `measure` runs them,
`report` writes the tables, `environment` and `isolation` provide what they run in, `machine` says where that was.
`search` is run by that environment. Modules not named here stand alone.
"""
