"""What goes with an image to whoever is to trust it: values in, bytes out."""
