"""Where LoRAs go. Destinations never import sources, the journal or each other."""
