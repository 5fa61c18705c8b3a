"""The networks, the VGG features that judge them, and the export to a style file."""
