"""What was handed out: the store of leases. It does not decide which port is given; it makes sure of whose it is."""
