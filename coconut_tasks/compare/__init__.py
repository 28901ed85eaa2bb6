"""What differs between two files, images or builds. Values in, values out; only ``reproduce`` builds."""
