"""From a scene to an asset: path sampling, losses, training."""
