"""The pretrained core: a network that corrects kriging, and simulated fields to teach it."""
