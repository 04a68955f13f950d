"""From files and hubs to the two shapes the rest knows: benchmarks and training sets."""
