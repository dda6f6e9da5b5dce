"""Where LoRAs come from. Sources never import destinations, the journal or each other."""
