"""What differs between two files, two images, two builds. Values in, values out; ``reproduce`` alone builds."""
