"""Preparation of corpora: from what others recorded to WAV files, phone labels and a manifest."""
