"""Use cases of accounts, a module for each subject."""
