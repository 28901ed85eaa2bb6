"""What touches the world: processes are run, files are placed whole."""
