"""How a painting becomes a network: photos -> batches -> network -> features -> losses -> step -> checkpoint."""
