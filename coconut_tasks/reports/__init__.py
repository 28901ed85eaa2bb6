"""What users are shown: values in, text out. Nothing here looks at the disk or runs anything."""
