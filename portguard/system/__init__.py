"""The only code that touches the operating system: probes, socket tables, processes, kernel settings."""
