"""Where things are: the source tree, the output folder, the recipes; and all that is looked up before the first step."""
