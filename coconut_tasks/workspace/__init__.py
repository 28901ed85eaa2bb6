"""Where things are: the source tree, the output folder, the recipes; and everything that is looked up before the first step."""
