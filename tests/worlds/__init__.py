"""Real worlds for the tests: namespaces, servers, engines."""
