"""Pages next to allauth's, a module for each subject."""
