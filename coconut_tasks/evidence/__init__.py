"""What accompanies an image for those who verify it: values in, bytes out."""
