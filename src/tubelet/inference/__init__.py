"""What people do with an encoder: features, predictions, search."""
