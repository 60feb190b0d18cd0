"""The texts that people agree to: which version is current, and what it says."""
