"""The questions portguard answers, one module each: gather facts, let `rules` decide, return records.

Nothing here prints or exits. These modules are the hot path of the command line: what only some answers need is
imported where they need it.
"""
