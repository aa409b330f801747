"""A soak: every command and the library at once, from many processes, for minutes, some of them cut off.

`callers` act, `ledger` keeps what they saw and says what of it cannot be, `world` is what they share and what has to be
left of it. Nothing here knows how portguard does what it does, but for the lease table, which tells whose a port is.
"""
