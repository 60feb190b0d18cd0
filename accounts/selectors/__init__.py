"""What one asks of accounts, a module for each subject."""
