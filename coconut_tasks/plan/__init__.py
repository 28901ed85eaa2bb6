"""From recipes and options to steps: pure, no disk, no process. One module for each section of the recipe."""
