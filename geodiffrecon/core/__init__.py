"""The diffusion core: the draws of a belief moved by a network that was taught on simulations."""
