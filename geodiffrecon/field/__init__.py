"""What is known of a field in closed form: Gaussian processes, with numpy and scipy only."""
