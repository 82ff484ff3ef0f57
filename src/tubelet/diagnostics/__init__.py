"""What masks and saliency maps hide and find, measured against a known truth, and drawn."""
