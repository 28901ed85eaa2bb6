"""What makes bytes the same wherever they are built: names for folders, cargo's configuration, scripts for compilers."""
