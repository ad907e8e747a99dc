"""Closed-form priors: climatology, kriging of anomalies, fine shares and offsets."""
