"""Docker and Podman: where their API is, and what it says. Asked only when a container could hold a port."""
